"""Reads the table of a FlatTensor file without ExecuTorch: names, shapes and where each tensor lies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers.encode
import flatbuffers.number_types as numbers
import flatbuffers.packer
from flatbuffers.table import Table

_MAGIC = b"FT01"
_HEADER_MAGIC = b"FH01"
_HEADER_AT, _HEADER_BYTES = 8, 40
_MAX_TABLE = 1 << 28
# executorch ScalarType -> name and bytes
_DTYPES = {0: ("uint8", 1), 6: ("float32", 4)}


class FlatTensorError(Exception):
    """The file is not a FlatTensor file, or a damaged one."""


@dataclass(frozen=True)
class StoredEntry:
    """One tensor of the file; `offset` from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class _Node:
    """A flatbuffer table whose fields are read by number; struct.error when an offset leaves the buffer."""

    def __init__(self, buffer: bytes, position: int) -> None:
        self._table = Table(buffer, position)

    def _at(self, field: int) -> int:
        offset = int(self._table.Offset(4 + 2 * field))
        return offset + int(self._table.Pos) if offset else 0

    def scalar(self, field: int, flags: Any) -> int:
        at = self._at(field)
        return int(self._table.Get(flags, at)) if at else 0

    def text(self, field: int) -> str:
        at = self._at(field)
        return bytes(self._table.String(at)).decode("utf-8") if at else ""

    def child(self, field: int) -> _Node | None:
        at = self._at(field)
        return _Node(self._table.Bytes, int(self._table.Indirect(at))) if at else None

    def _vector(self, field: int) -> tuple[int, int]:
        offset = int(self._table.Offset(4 + 2 * field))
        return (int(self._table.Vector(offset)), int(self._table.VectorLen(offset))) if offset else (0, 0)

    def children(self, field: int) -> list[_Node]:
        start, count = self._vector(field)
        return [_Node(self._table.Bytes, int(self._table.Indirect(start + 4 * i))) for i in range(count)]

    def ints(self, field: int) -> tuple[int, ...]:
        start, count = self._vector(field)
        return tuple(int(self._table.Get(numbers.Int32Flags, start + 4 * i)) for i in range(count))


def _integer(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _load(path: Path) -> tuple[bytes, int]:
    """The flatbuffer with its header, and where the segments begin."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER_AT + _HEADER_BYTES)
        if len(start) < _HEADER_AT + _HEADER_BYTES or start[4:8] != _MAGIC or start[8:12] != _HEADER_MAGIC:
            raise FlatTensorError("not a FlatTensor file")
        end = _integer(start, 16) + _integer(start, 24)
        base, data = _integer(start, 32), _integer(start, 40)
        if end > min(size, _MAX_TABLE):
            raise FlatTensorError(f"truncated inside its table ({size} bytes)")
        if base + data != size:
            raise FlatTensorError(f"expected {base + data} bytes, found {size}")
        file.seek(0)
        return file.read(end), base


def _entry(node: _Node, segments: list[_Node], base: int) -> StoredEntry:
    layout, index = node.child(2), node.scalar(1, numbers.Uint32Flags)
    name = node.text(0)
    if layout is None or index >= len(segments):
        raise FlatTensorError(f"{name}: no layout or no segment")
    dtype, _ = _DTYPES.get(layout.scalar(0, numbers.Int8Flags), ("?", 0))
    segment = segments[index]
    offset, nbytes = segment.scalar(0, numbers.Uint64Flags), segment.scalar(1, numbers.Uint64Flags)
    return StoredEntry(name, dtype, layout.ints(1), base + offset, nbytes)


def read_flat_header(path: Path) -> list[StoredEntry]:
    """Tensors of a FlatTensor file, in its order.

    Raises:
        FlatTensorError: when the file is not one, is cut off, or its table does not hold together.
        OSError: when it cannot be read.
    """
    data, base = _load(path)
    try:
        root = _Node(data, int(flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)))
        segments = root.children(1)
        return [_entry(node, segments, base) for node in root.children(2)]
    except FlatTensorError:
        raise
    except Exception as error:
        raise FlatTensorError(f"damaged table ({type(error).__name__})") from error


def table_digest(path: Path) -> tuple[int, str]:
    """How many bytes lie before the first tensor (header and table), and their SHA-256.

    Raises:
        FlatTensorError: as `read_flat_header`.
        OSError: when it cannot be read.
    """
    _, base = _load(path)
    with path.open("rb") as file:
        return base, hashlib.sha256(file.read(base)).hexdigest()
