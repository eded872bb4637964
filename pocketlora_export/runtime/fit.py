"""The training loop: so many steps, a report after each; Ctrl-C ends a step at its next block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from pocketlora_export.runtime.arrays import PackedRows
from pocketlora_export.runtime.trainer import Trainer
from pocketlora_export.runtime.training import Step


def fit(
    trainer: Trainer, batches: Iterator[Sequence[PackedRows]], iters: int, on_step: Callable[[Step], bool | None]
) -> None:
    """Run at most `iters` optimizer steps.

    Args:
        trainer: the LoRA tensors and their optimizer.
        batches: the micro-batches of one step after the other.
        iters: number of steps.
        on_step: called after every step; True ends the training.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pocketlora-step") as worker:
        for _ in range(iters):
            if _interruptible_step(worker, trainer, next(batches), on_step):
                return


def _interruptible_step(
    worker: ThreadPoolExecutor,
    trainer: Trainer,
    batches: Sequence[PackedRows],
    on_step: Callable[[Step], bool | None],
) -> bool | None:
    """One step. Python sees Ctrl-C only between two calls of C: the step runs beside the thread that waits for it."""
    running = worker.submit(trainer.step, batches)
    try:
        wait([running])
    except KeyboardInterrupt:
        if not running.done():
            trainer.cancel()
        # It may have come to its end all the same: then it counts, and is told like any other.
        if running.exception() is None:
            on_step(running.result())
        raise
    return on_step(running.result())
