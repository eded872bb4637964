"""numpy arrays as the C API takes them, and the batch that `train` and `eval` hand over."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import structs

Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]


class PackedRows(Protocol):
    """One micro-batch: rows of tokens one after the other, int64."""

    @property
    def tokens(self) -> Int64Array:
        """[num_tokens]."""

    @property
    def labels(self) -> Int64Array:
        """[num_tokens]: the token itself, or -100."""

    @property
    def segments(self) -> Int64Array:
        """[num_rows + 1] offsets, 0 ... num_tokens."""


def int64_array(values: ArrayLike) -> Int64Array:
    """A contiguous one-dimensional int64 array."""
    return np.ascontiguousarray(values, dtype=np.int64).reshape(-1)


def int64_pointer(array: Int64Array) -> Any:
    """The array's data as int64_t*; the caller keeps the array alive."""
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))


def float_pointer(array: Float32Array | None) -> Any:
    """The array's data as float*, NULL for None."""
    return None if array is None else array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


class Batches:
    """A C array of pl_batch over the given micro-batches, and the arrays that it points into."""

    def __init__(self, batches: Sequence[PackedRows]) -> None:
        self._arrays = [[int64_array(part) for part in (b.tokens, b.labels, b.segments)] for b in batches]
        self.array = (structs.Batch * len(batches))(*(_batch(*arrays) for arrays in self._arrays))

    def __len__(self) -> int:
        return len(self._arrays)


def _batch(tokens: Int64Array, labels: Int64Array, segments: Int64Array) -> structs.Batch:
    if len(tokens) != len(labels):
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"a batch has {len(tokens)} tokens but {len(labels)} labels; they must be equal"
        )
    batch = structs.sized(structs.Batch)
    batch.tokens, batch.labels, batch.segments = int64_pointer(tokens), int64_pointer(labels), int64_pointer(segments)
    batch.num_tokens, batch.num_segments = len(tokens), max(0, len(segments) - 1)
    return batch
