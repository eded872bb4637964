"""What a training run tells: a live display for people, events for programs and for whoever else follows them."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.train_display import TrainDisplay
from pocketlora_export.data.dataset import Dataset
from pocketlora_export.errors import Status
from pocketlora_export.runtime import Checkpoint, MemoryAccount, Progress, Step, TrainerPlan, Validation

Listener = Callable[[Mapping[str, Any]], None]


class TrainReport:
    """Follows one run. With `as_json` events go to stdout, otherwise a summary; the display is on stderr either way."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._steps = 0
        self._losses: list[float] = []
        self._validations: list[Validation] = []
        self._best_step = 0
        self._started = time.monotonic()
        self._display = TrainDisplay()
        self._listeners: list[Listener] = []

    @property
    def steps_done(self) -> int:
        """Optimizer steps of this process so far."""
        return len(self._losses)

    def listen(self, listener: Listener) -> None:
        """Give every `progress` and `validation` event to `listener`, too, from now on."""
        self._listeners.append(listener)

    @contextmanager
    def running(self, steps: int) -> Iterator[None]:
        """Show the display while the run lasts."""
        self._steps, self._started = steps, time.monotonic()
        with self._display.running(steps):
            yield

    def truncated(self, rows: Dataset, max_tokens: int) -> None:
        """Warn when rows were cut."""
        if rows.truncated:
            message = f"{rows.truncated} of {len(rows.rows)} rows of {rows.path} were cut to {max_tokens} tokens"
            console.warn(message, Status.SEQUENCE_TOO_LONG)

    def planned(self, plan: TrainerPlan) -> None:
        """What was chosen for the trainer: an event, and a note where a memory limit decided."""
        if self._json:
            console.print_event("plan", **asdict(plan) | {"activations": plan.activations.name.lower()})
        if plan.step_compute != plan.compute:
            console.note(f"{plan.compute} is computed as {plan.step_compute} on this machine")
        if plan.memory_limit or plan.spilled or plan.streams_weights or plan.kept_blocks:
            console.note(
                f"{plan.max_rows} rows a pass, layers' inputs in {plan.activations.name.lower()}"
                + (f", {plan.spilled / 1e6:.1f} MB of them in a scratch file" if plan.spilled else "")
                + (f", products of {plan.kept_blocks} layers kept" if plan.kept_blocks else "")
                + (", weights streamed" if plan.streams_weights else "")
                + f"; {plan.planned / 1e6:.1f} MB planned"
                + (f" of {plan.memory_limit / 1e6:.1f} MB" if plan.memory_limit else "")
            )

    def step(self, step: Step, progress: Progress, memory: MemoryAccount) -> None:
        """One optimizer step is done."""
        self._losses.append(step.loss)
        event = self._progress_event(step, progress, memory)
        self._tell(event)
        self._display.progress(event)
        if step.skipped:
            message = (
                f"step {step.step} was left out: its loss or gradient is not finite; the adapter is as it was before"
            )
            console.warn(message, Status.BACKEND_EXECUTION)

    def validation(self, found: Validation) -> None:
        """The held-out rows were evaluated."""
        self._validations.append(found)
        stop = "; no improvement any more" if found.should_stop else ""
        console.note(f"step {found.step}: held-out loss {found.loss:.4f}, {_quality(found)}{stop}")
        self._tell(
            console.make_event(
                "validation",
                step=found.step,
                loss=console.finite(found.loss),
                perplexity=console.finite(found.perplexity),
                tokens=found.num_labels,
                improved=found.improved,
                best_step=found.best_step,
                best_loss=console.finite(found.best_loss),
                **_rewards(found),
            )
        )

    def checkpoint(self, written: Checkpoint) -> None:
        """A checkpoint was written."""
        console.note(f"step {written.step}: checkpoint written to {written.path}")
        if self._json:
            path = str(written.path)
            console.print_event(
                "checkpoint", step=written.step, path=path, bytes=written.nbytes, seconds=written.seconds
            )

    def resumed(self, found: Checkpoint) -> None:
        """A checkpoint was loaded; warnings for damaged ones that were passed over."""
        for problem in found.skipped:
            console.warn(f"passed over: {problem}", Status.INPUT_MALFORMED)
        console.note(f"going on after step {found.step} from {found.path}")
        self._best_step = found.best_step
        if self._json:
            console.print_event("resume", step=found.step, path=str(found.path), skipped=len(found.skipped))

    def complete(self, path: Path, progress: Progress, memory: MemoryAccount, *, best: bool) -> None:
        """The adapter is saved, the best or the last one; `memory` at the end, by part."""
        seconds = time.monotonic() - self._started
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        here = max(self.steps_done, 1)
        best_step = self._validations[-1].best_step if self._validations else self._best_step
        if self._json:
            console.print_event(
                "complete",
                steps=progress.step,
                tokens=progress.tokens,
                seconds=seconds,
                path=str(path),
                loss=console.finite(self._losses[-1]) if self._losses else None,
                seconds_per_step=seconds / here,
                major_faults=faults,
                memory=asdict(memory),
                **({"best_step": best_step} if best else {}),
            )
            return
        losses = f": loss {self._losses[0]:.4f} -> {self._losses[-1]:.4f}" if self._losses else ""
        click.echo(f"{progress.step} steps, {progress.tokens} tokens in {seconds:.1f} s{losses}")
        if self._validations:
            click.echo(f"held-out {_quality(self._validations[0])} -> {_quality(self._validations[-1], named=False)}")
        click.echo(
            f"{seconds / here:.2f} s a step; allocated {memory.peak / 1e6:.1f} MB at most, "
            f"RssAnon {memory.rss_anon / 1e6:.1f} MB, RssFile {memory.rss_file / 1e6:.1f} MB, {faults} major faults"
        )
        of_step = f" of step {best_step}" if best else ""
        click.echo(f"adapter{of_step} written to {path}")

    def _tell(self, event: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(event)
        if self._json:
            console.print_json(event)

    def _progress_event(self, step: Step, progress: Progress, memory: MemoryAccount) -> dict[str, Any]:
        rate = step.num_tokens / step.seconds if step.seconds > 0 else 0.0
        return console.make_event(
            "progress",
            step=step.step,
            steps=self._steps,
            loss=console.finite(step.loss),
            learning_rate=step.learning_rate,
            tokens=progress.tokens,
            tokens_per_second=rate,
            grad_norm=console.finite(step.grad_norm),
            seconds_left=progress.seconds_left,
            skipped_steps=step.skipped_steps,
            rss_anon=memory.rss_anon,
            rss_file=memory.rss_file,
            **_rewards(step),
        )


def _rewards(report: Step | Validation) -> dict[str, float | None]:
    """The fields of events that preference pairs add."""
    if report.num_pairs == 0:
        return {}
    names = ("chosen_reward", "rejected_reward", "reward_margin", "reward_accuracy")
    return {name: console.finite(getattr(report, name)) for name in names}


def _quality(found: Validation, *, named: bool = True) -> str:
    """What a held-out loss means: the perplexity, or the reward margin of preference pairs."""
    if found.num_pairs:
        return f"{'reward margin ' if named else ''}{found.reward_margin:.4f} (accuracy {found.reward_accuracy:.2f})"
    return f"{'perplexity ' if named else ''}{found.perplexity:.3f}"
