"""Chunks processed in several processes: results in order, never more than one chunk a process in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.process import Chunk, Processed, Processor
from pocketlora_export.data.prepare.tokenizer import TokenizerSource
from pocketlora_export.errors import PocketLoraError, Status

# Starting a process takes as long as reading some megabytes, or as encoding a few.
_WORTH = 16 << 20
_WORTH_ENCODED = 2 << 20
_PATIENCE = 1.0


def worker_count(asked: int, nbytes: int, *, has_tokenizer: bool) -> int:
    """How many processes to use: as many as asked for, or one a core where there is enough to do; 1 = this one."""
    worth = _WORTH_ENCODED if has_tokenizer else _WORTH
    return asked or ((os.cpu_count() or 1) if nbytes >= worth else 1)


def processed(
    chunks: Iterable[Chunk], options: PrepareOptions, source: TokenizerSource | None, workers: int
) -> Iterator[Processed]:
    """Every chunk, processed, in order. Raises OUT_OF_MEMORY when a process was killed."""
    if workers == 1:
        yield from map(Processor(options, source), chunks)
        return
    team = [_Worker(options, source) for _ in range(workers)]
    try:
        yield from _in_order(team, chunks)
    finally:
        for worker in team:
            worker.end()


def _in_order(team: list[_Worker], chunks: Iterable[Chunk]) -> Iterator[Processed]:
    idle, busy = deque(team), deque[_Worker]()
    for chunk in chunks:
        done = None
        if not idle:
            worker = busy.popleft()
            done = worker.result()
            idle.append(worker)
        # The next chunk goes out before the result is dealt with.
        worker = idle.popleft()
        worker.send(chunk)
        busy.append(worker)
        if done is not None:
            yield done
    while busy:
        yield busy.popleft().result()


class _Worker:
    """A process and the pipe to it. No two processes share a pipe: the end of one is seen at once, whatever it did."""

    def __init__(self, options: PrepareOptions, source: TokenizerSource | None) -> None:
        # A fresh interpreter: one that was forked may hold locks of the tokenizer's threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, options, source), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, chunk: Chunk) -> None:
        """Give it a chunk; it must be waiting for one."""
        try:
            self._pipe.send(chunk)
        except OSError:
            raise self._lost() from None

    def result(self) -> Processed:
        """Wait for what it makes of its chunk."""
        try:
            found = self._pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(found, Processed):
            return found
        raise PocketLoraError(*found)

    def end(self) -> None:
        """Let it go; stop it when it is at work still."""
        self._pipe.close()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _lost(self) -> PocketLoraError:
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        message = (
            f"a worker process ended before its work was done (exit code {code}; -9 = killed, mostly for its memory); "
            "fewer --workers take less"
        )
        return PocketLoraError(Status.OUT_OF_MEMORY if code is not None and code < 0 else Status.INTERNAL, message)


def _serve(pipe: Connection, options: PrepareOptions, source: TokenizerSource | None) -> None:
    # Ctrl-C is for the process that waits; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        processor = Processor(options, source)
        while True:
            pipe.send(processor(pipe.recv()))
    except PocketLoraError as error:
        pipe.send((error.status, str(error)))
    except (EOFError, OSError):
        pass
