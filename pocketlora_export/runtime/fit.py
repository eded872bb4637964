"""The training loop: so many steps, a report after each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime.arrays import PackedRows
from pocketlora_export.runtime.trainer import Step, Trainer


def fit(trainer: Trainer, batches: Iterator[Sequence[PackedRows]], iters: int, on_step: Callable[[Step], None]) -> Step:
    """Run `iters` optimizer steps and return the last report.

    Args:
        trainer: the LoRA tensors and their optimizer.
        batches: the micro-batches of one step after the other.
        iters: number of steps, at least 1.
        on_step: called after every step.

    Raises BACKEND_EXECUTION when the loss stops being a number.
    """
    for _ in range(iters):
        step = trainer.step(next(batches))
        if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
            raise PocketLoraError(
                Status.BACKEND_EXECUTION,
                f"training diverged: loss {step.loss}, gradient norm {step.grad_norm} at step {step.step}; "
                "nothing was saved; a lower --learning-rate may help",
            )
        on_step(step)
    return step
