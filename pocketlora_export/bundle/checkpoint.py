"""A Hugging Face checkpoint as a table of the tensors in its safetensors files, read piece by piece without PyTorch.

Plain reads instead of a mapping keep the pages of a large checkpoint out of this process's resident memory.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_MAX_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    nbytes: int

    def read(self, begin: int, nbytes: int) -> bytearray:
        """Its bytes [begin, begin + nbytes).

        Raises:
            OSError: when the file cannot be read or ends early.
        """
        buffer = bytearray(nbytes)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            _read_fully(descriptor, buffer, self.offset + begin, self.path)
        finally:
            os.close(descriptor)
        return buffer


def _read_fully(descriptor: int, buffer: bytearray, offset: int, path: Path) -> None:
    view = memoryview(buffer)
    while view:
        count = os.preadv(descriptor, [view], offset)
        if count == 0:
            raise OSError(f"{path} ended at byte {offset} while it was being read")
        view, offset = view[count:], offset + count


def read_header(path: Path) -> tuple[dict[str, TensorEntry], list[str]]:
    """The tensors of one safetensors file, and everything that is wrong with the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            return {}, [f"{path}: this is a Git LFS pointer, not the weights; run 'git lfs pull'"]
        length = int.from_bytes(start[:8], "little")
        if size < 8 or length > min(_MAX_HEADER, size - 8):
            return {}, [f"{path}: the safetensors header is cut off or not one ({size} bytes in the file)"]
        file.seek(8)
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except ValueError as error:
        return {}, [f"{path}: the safetensors header is not JSON ({error})"]
    if not isinstance(header, dict):
        return {}, [f"{path}: the safetensors header is not an object"]
    header.pop("__metadata__", None)
    return _entries(path, header, 8 + length, size)


def _entries(path: Path, header: dict[str, Any], base: int, size: int) -> tuple[dict[str, TensorEntry], list[str]]:
    entries: dict[str, TensorEntry] = {}
    problems: list[str] = []
    for name, fields in header.items():
        entry = _entry(path, name, fields, base)
        if entry is None:
            problems.append(f"{path}: the header's entry of {name} is malformed: {fields!r:.200}")
        else:
            entries[name] = entry
    expected = max((e.offset + e.nbytes for e in entries.values()), default=base)
    if size < expected:
        problems.append(f"{path}: truncated: {expected} bytes expected, {size} found (download it again)")
    return entries, problems


def _entry(path: Path, name: str, fields: Any, base: int) -> TensorEntry | None:
    try:
        dtype, shape = str(fields["dtype"]), tuple(int(d) for d in fields["shape"])
        begin, end = (int(v) for v in fields["data_offsets"])
    except (KeyError, TypeError, ValueError):
        return None
    nbytes = math.prod(shape) * _ITEM_BYTES.get(dtype, 0)
    bad_size = dtype in _ITEM_BYTES and end - begin != nbytes
    if begin < 0 or end < begin or min(shape, default=1) < 0 or bad_size:
        return None
    return TensorEntry(name, dtype, shape, path, base + begin, end - begin)


def _indexed_files(folder: Path) -> tuple[dict[str, str], list[str]]:
    """tensor -> shard as the index says."""
    path = folder / INDEX
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
        return {str(k): str(v) for k, v in weight_map.items()}, []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, [f"{path}: malformed index ({type(error).__name__}: {error})"]


def read_checkpoint(folder: Path) -> tuple[dict[str, TensorEntry], list[str]]:
    """Every tensor of a model folder (one file or shards) and every problem of its files."""
    if (folder / INDEX).is_file():
        return _read_sharded(folder)
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    other = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
    hint = f"; it has {', '.join(other)}, which must be saved as safetensors first" if other else ""
    return {}, [f"{folder}: neither {SINGLE} nor {INDEX} is there{hint}"]


def _read_sharded(folder: Path) -> tuple[dict[str, TensorEntry], list[str]]:
    mapping, problems = _indexed_files(folder)
    entries: dict[str, TensorEntry] = {}
    for shard in sorted(set(mapping.values())):
        path = folder / shard
        if not path.is_file():
            count = sum(1 for v in mapping.values() if v == shard)
            problems.append(f"{path}: missing; {INDEX} puts {count} tensors there (half-downloaded?)")
            continue
        found, wrong = read_header(path)
        problems += wrong
        if wrong and not found:
            continue
        listed = {name for name, file in mapping.items() if file == shard}
        problems += [f"{path}: {name} is listed in {INDEX} but not in the file" for name in sorted(listed - set(found))]
        entries.update(found)
    return entries, problems
