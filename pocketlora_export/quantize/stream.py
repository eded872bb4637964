"""The whole model through the quantizer in bounded memory: pieces of rows, computed in parallel, delivered in order."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export.bundle.checkpoint import TensorEntry
from pocketlora_export.errors import PocketLoraError, Status, raise_all
from pocketlora_export.q4 import TILE_ROWS, Q4Spec
from pocketlora_export.quantize.checkpoint import read_rows
from pocketlora_export.quantize.matrix import quantize_packed
from pocketlora_export.quantize.stored import StoredTensor

# A piece and what is made of it stay in the cache and below malloc's mmap threshold.
PIECE_ELEMENTS = 1 << 18
Advance = Callable[[int], None]


@dataclass(frozen=True)
class _Piece:
    tensor: StoredTensor
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """Elements of the source."""
        return (self.end - self.begin) * math.prod(self.tensor.source_shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return 4 * self.elements if self.spec is None else self.spec.nbytes

    @property
    def spec(self) -> Q4Spec | None:
        """The piece as a matrix of its own; None when it is not quantized."""
        whole = self.tensor.q4
        return None if whole is None else Q4Spec(self.end - self.begin, whole.cols, whole.scheme, whole.group_size)


@dataclass(frozen=True)
class _Result:
    data: Tensor
    not_finite: int
    problem: str | None


def _pieces(tensors: Iterable[StoredTensor]) -> Iterator[_Piece]:
    for tensor in tensors:
        rows = tensor.source_shape[0]
        per_row = max(1, tensor.elements // max(1, rows))
        step = max(1, PIECE_ELEMENTS // per_row // TILE_ROWS) * TILE_ROWS
        for begin in range(0, rows, step):
            yield _Piece(tensor, begin, min(rows, begin + step))


def _after(pieces: Iterable[_Piece], done: int, advance: Advance) -> Iterator[_Piece]:
    """The pieces behind the first `done` stored bytes."""
    for piece in pieces:
        if done <= 0:
            yield piece
        else:
            advance(piece.elements)
        done -= piece.nbytes
        if done < 0 < done + piece.nbytes:
            raise ValueError(f"{piece.tensor.name}: {-done} bytes of a piece are missing")


def _count_not_finite(values: Tensor) -> int:
    # The sum is not finite whenever an element is not, and it is an order of magnitude cheaper.
    if bool(torch.isfinite(values.sum())):
        return 0
    return int(values.numel() - torch.isfinite(values).sum())


def _convert(piece: _Piece, entry: TensorEntry) -> _Result:
    values = read_rows(entry, piece.begin, piece.end)
    bad = _count_not_finite(values)
    spec = piece.spec
    if bad or spec is None:
        return _Result(values, bad, None)
    try:
        return _Result(quantize_packed(values, spec, piece.tensor.name), 0, None)
    except PocketLoraError as error:
        return _Result(values, 0, str(error))


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Workers that use one core each; on the way out (Ctrl-C included) work that has not begun is dropped."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


def _in_order(pool: ThreadPoolExecutor, pieces: Iterable[_Piece], entries: Mapping[str, TensorEntry],
              window: int) -> Iterator[tuple[_Piece, _Result]]:  # fmt: skip
    pending: deque[tuple[_Piece, Future[_Result]]] = deque()
    for piece in pieces:
        pending.append((piece, pool.submit(_convert, piece, entries[piece.tensor.name])))
        if len(pending) >= window:
            done, future = pending.popleft()
            yield done, future.result()
    while pending:
        done, future = pending.popleft()
        yield done, future.result()


def stream_tensors(
    tensors: Sequence[StoredTensor],
    entries: Mapping[str, TensorEntry],
    threads: int = 2,
    advance: Advance = lambda _: None,
    done: int = 0,
) -> Generator[tuple[str, memoryview], None, None]:
    """Bytes of every stored tensor, in order and in pieces: (tensor name, bytes).

    At most `threads + 2` pieces of about 260,000 weights are alive. `advance` is called with the weights done. The
    first `done` bytes, whole pieces, are left out.

    Raises:
        PocketLoraError: INPUT_MALFORMED at the end, listing every tensor with NaN, Inf or a scale beyond fp16; nothing
            is delivered after the first such piece.
    """
    not_finite: Counter[str] = Counter()
    problems: list[str] = []
    with _pool(threads) as pool:
        for piece, result in _in_order(pool, _after(_pieces(tensors), done, advance), entries, threads + 2):
            not_finite[piece.tensor.name] += result.not_finite
            problems += [result.problem] if result.problem else []
            if not problems and not not_finite.total():
                yield piece.tensor.name, result.data.contiguous().view(torch.uint8).view(-1).numpy().data
            advance(piece.elements)
    values = [f"{name}: {count} values are NaN or Inf" for name, count in not_finite.items() if count]
    raise_all(Status.INPUT_MALFORMED, "the weights cannot be quantized:", values + list(dict.fromkeys(problems)))
