"""base.ptd as a stream: an ExecuTorch FlatTensor file written tensor by tensor.

The header and the table of segments only need names, shapes and sizes, so they are written first, with ExecuTorch's own
serializer; the bytes are then appended and hashed as they come. The result is what FlatTensorSerializer writes. A file
that an earlier run has begun is continued behind any whole piece.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from executorch.exir._serialize._program import _insert_flatbuffer_header
from executorch.exir._serialize.padding import aligned_size, pad_to
from executorch.exir.scalar_type import ScalarType
from executorch.exir.tensor_layout import TensorLayout
from executorch.extension.flat_tensor.serialize.flat_tensor_schema import DataSegment, FlatTensor, NamedData
from executorch.extension.flat_tensor.serialize.serialize import (
    _FLAT_TENSOR_VERSION,
    _FLATBUFFER_ALIGNMENT,
    FlatTensorHeader,
    _serialize_to_flatbuffer,
)

from pocketlora_export.bundle.journal import JournaledFile

ALIGNMENT = 4096
_SCALAR_TYPES = {"uint8": ScalarType.BYTE, "float32": ScalarType.FLOAT}
_ITEM_BYTES = {"uint8": 1, "float32": 4}


@dataclass(frozen=True)
class TensorMeta:
    """One tensor of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


def _segments(tensors: Sequence[TensorMeta]) -> list[DataSegment]:
    segments: list[DataSegment] = []
    end = 0
    for tensor in tensors:
        segments.append(DataSegment(offset=aligned_size(end, ALIGNMENT), size=tensor.nbytes))
        end = segments[-1].offset + tensor.nbytes
    return segments


def _named(index: int, tensor: TensorMeta) -> NamedData:
    dims = list(range(len(tensor.shape)))
    layout = TensorLayout(_SCALAR_TYPES[tensor.dtype], list(tensor.shape), dims)
    return NamedData(key=tensor.name, segment_index=index, tensor_layout=layout)


def _head(tensors: Sequence[TensorMeta], segments: Sequence[DataSegment]) -> bytes:
    """Everything before the first segment."""
    table = FlatTensor(_FLAT_TENSOR_VERSION, list(segments), [_named(i, t) for i, t in enumerate(tensors)])
    flatbuffer = bytes(_serialize_to_flatbuffer(table))
    offset = aligned_size(FlatTensorHeader.EXPECTED_LENGTH, _FLATBUFFER_ALIGNMENT)
    base = aligned_size(len(flatbuffer) + offset, ALIGNMENT)
    header = FlatTensorHeader(
        flatbuffer_offset=offset,
        flatbuffer_size=len(flatbuffer),
        segment_base_offset=base,
        segment_data_size=segments[-1].offset + segments[-1].size,
    )
    data: bytes = _insert_flatbuffer_header(
        flatbuffer_data=flatbuffer,
        magic_regex=r"FT[0-9a-zA-Z][0-9a-zA-Z]",
        header_data=pad_to(header.to_bytes(), offset),
    )
    padded: bytes = pad_to(data, base)
    return padded


def file_size(tensors: Sequence[TensorMeta]) -> int:
    """Upper bound of the file's size, for a check of the free space."""
    data: int = sum(aligned_size(t.nbytes, ALIGNMENT) for t in tensors)
    return data + ALIGNMENT + 256 * len(tensors)


class FlatTensorFile:
    """What a file will hold, and how far a part of it has come."""

    def __init__(self, tensors: Sequence[TensorMeta]) -> None:
        self._tensors = tensors
        self._segments = _segments(tensors)
        self._head = _head(tensors, self._segments)

    def _place(self, size: int) -> tuple[int, int]:
        """The tensor that the first `size` bytes of the file end in, and the bytes of it that they hold."""
        if not size:
            return 0, 0
        data = size - len(self._head)
        index = max(0, bisect.bisect_left([s.offset for s in self._segments], data) - 1)
        written = data - self._segments[index].offset
        if not 0 < written <= self._tensors[index].nbytes:
            raise ValueError(f"byte {size} lies between two tensors")
        return index, written

    def tensor_bytes(self, size: int) -> int:
        """Bytes of tensors, padding not counted, in the first `size` bytes of the file."""
        index, written = self._place(size)
        return sum(t.nbytes for t in self._tensors[:index]) + written

    def write(self, file: JournaledFile, pieces: Iterable[tuple[str, memoryview]]) -> None:
        """Write the file, or what its first bytes lack.

        Args:
            file: empty, or as far as a piece of an earlier run went.
            pieces: (tensor name, bytes) in the order of the tensors, a tensor in as many pieces as its source likes;
                without the first `tensor_bytes(file.size)` bytes.

        Raises:
            ValueError: when the pieces do not add up to the tensors.
        """
        tensors, (index, written) = self._tensors, self._place(file.size)
        if not file.size:
            file.write(self._head)
        for name, piece in pieces:
            if written == tensors[index].nbytes:
                index, written = index + 1, 0
            if name != tensors[index].name or written + len(piece) > tensors[index].nbytes:
                raise ValueError(f"{name}: bytes beyond {tensors[index].name} ({written} of {tensors[index].nbytes})")
            file.write(b"\x00" * (len(self._head) + self._segments[index].offset + written - file.size))
            file.write(piece)
            file.settle()
            written += len(piece)
        if index != len(tensors) - 1 or written != tensors[index].nbytes:
            raise ValueError(f"{tensors[index].name}: {written} of {tensors[index].nbytes} bytes, and nothing follows")
