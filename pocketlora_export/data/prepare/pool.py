"""A function over chunks in several processes: results in order, never more than a few chunks at once in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.process import Chunk, Processed, Processor
from pocketlora_export.data.prepare.tokenizer import TokenizerSource
from pocketlora_export.errors import PocketLoraError, Status

# Starting a process takes as long as reading some megabytes.
_WORTH = 16 << 20
_AHEAD = 2
_processor: list[Processor] = []


def worker_count(asked: int, nbytes: int, *, has_tokenizer: bool) -> int:
    """How many processes to use: as many as asked for, or one a core where there is enough to do; 1 = this one."""
    if asked:
        return asked
    return (os.cpu_count() or 1) if nbytes >= (_WORTH >> 3 if has_tokenizer else _WORTH) else 1


def processed(
    chunks: Iterable[Chunk], options: PrepareOptions, source: TokenizerSource | None, workers: int
) -> Iterator[Processed]:
    """Every chunk, processed, in order. Raises OUT_OF_MEMORY when a process was killed."""
    if workers == 1:
        yield from map(Processor(options, source), chunks)
        return
    # A fresh interpreter: one that was forked may hold locks of the tokenizer's threads.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _begin, (options, source))
    try:
        yield from _in_order(executor, chunks, workers)
    except BrokenProcessPool:
        message = "a worker process ended before its work was done (killed for its memory?); fewer --workers take less"
        raise PocketLoraError(Status.OUT_OF_MEMORY, message) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_order(executor: ProcessPoolExecutor, chunks: Iterable[Chunk], workers: int) -> Iterator[Processed]:
    waiting: deque[Future[Processed]] = deque()
    for chunk in chunks:
        waiting.append(executor.submit(_process, chunk))
        if len(waiting) >= _AHEAD * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(options: PrepareOptions, source: TokenizerSource | None) -> None:
    # Ctrl-C is for the process that waits; it ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _processor.append(Processor(options, source))


def _process(chunk: Chunk) -> Processed:
    return _processor[0](chunk)
