"""What a training run tells: a progress bar for people, events for programs."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import Progress, TaskID

from pocketlora_export.cli import console
from pocketlora_export.data.dataset import Dataset
from pocketlora_export.errors import Status
from pocketlora_export.evaluate.metrics import Metrics
from pocketlora_export.runtime import MemoryAccount, Step, TrainerPlan


class TrainReport:
    """Follows one run. With `as_json` events go to stdout, otherwise a summary; the bar is on stderr either way."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._steps = 0
        self._learning_rate = 0.0
        self._tokens = 0
        self._losses: list[float] = []
        self._validations: list[Metrics] = []
        self._started = time.monotonic()
        self._bar: tuple[Progress, TaskID] | None = None

    @property
    def steps_done(self) -> int:
        """Optimizer steps so far."""
        return len(self._losses)

    @contextmanager
    def running(self, steps: int, learning_rate: float) -> Iterator[None]:
        """Show the progress bar while the run lasts."""
        self._steps, self._learning_rate, self._started = steps, learning_rate, time.monotonic()
        with console.progress() as bar:
            self._bar = bar, bar.add_task("training", total=steps, status="")
            try:
                yield
            finally:
                self._bar = None

    def truncated(self, rows: Dataset, max_tokens: int) -> None:
        """Warn when rows were cut."""
        if rows.truncated:
            message = f"{rows.truncated} of {len(rows.rows)} rows of {rows.path} were cut to {max_tokens} tokens"
            console.warn(message, Status.SEQUENCE_TOO_LONG)

    def planned(self, plan: TrainerPlan) -> None:
        """What was chosen for the trainer: an event, and a note where a memory limit decided."""
        if self._json:
            console.print_event("plan", **asdict(plan) | {"activations": plan.activations.name.lower()})
        if plan.memory_limit or plan.spilled or plan.streams_weights:
            console.note(
                f"{plan.max_rows} rows a pass, layers' inputs in {plan.activations.name.lower()}"
                + (f", {plan.spilled / 1e6:.1f} MB of them in a scratch file" if plan.spilled else "")
                + (", weights streamed" if plan.streams_weights else "")
                + f"; {plan.planned / 1e6:.1f} MB planned"
                + (f" of {plan.memory_limit / 1e6:.1f} MB" if plan.memory_limit else "")
            )

    def step(self, step: Step, memory: MemoryAccount) -> None:
        """One optimizer step is done."""
        self._losses.append(step.loss)
        self._tokens += step.num_tokens
        rate = step.num_tokens / step.seconds if step.seconds > 0 else 0.0
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=step.step, status=f"loss {step.loss:.4f}  {rate:.0f} tokens/s")
        if self._json:
            self._progress_event(step, rate, memory)

    def validation(self, step: int, metrics: Metrics) -> None:
        """The held-out rows were evaluated."""
        self._validations.append(metrics)
        console.note(f"step {step}: held-out loss {metrics.loss:.4f}, perplexity {metrics.perplexity:.3f}")
        if self._json:
            loss, perplexity = console.finite(metrics.loss), console.finite(metrics.perplexity)
            console.print_event("validation", step=step, loss=loss, perplexity=perplexity, tokens=metrics.tokens)

    def complete(self, path: Path, memory: MemoryAccount) -> None:
        """The adapter is saved; `memory` at the end, by part."""
        seconds = time.monotonic() - self._started
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        if self._json:
            console.print_event(
                "complete",
                steps=self.steps_done,
                tokens=self._tokens,
                seconds=seconds,
                path=str(path),
                loss=self._losses[-1],
                seconds_per_step=seconds / self.steps_done,
                major_faults=faults,
                memory=asdict(memory),
            )
            return
        first, last = self._losses[0], self._losses[-1]
        click.echo(f"{self.steps_done} steps, {self._tokens} tokens in {seconds:.1f} s: loss {first:.4f} -> {last:.4f}")
        if self._validations:
            before, after = self._validations[0].perplexity, self._validations[-1].perplexity
            click.echo(f"held-out perplexity {before:.3f} -> {after:.3f}")
        click.echo(
            f"{seconds / self.steps_done:.2f} s a step; allocated {memory.peak / 1e6:.1f} MB at most, "
            f"RssAnon {memory.rss_anon / 1e6:.1f} MB, RssFile {memory.rss_file / 1e6:.1f} MB, {faults} major faults"
        )
        click.echo(f"adapter written to {path}")

    def _progress_event(self, step: Step, rate: float, memory: MemoryAccount) -> None:
        elapsed = time.monotonic() - self._started
        console.print_event(
            "progress",
            step=step.step,
            steps=self._steps,
            loss=step.loss,
            learning_rate=self._learning_rate,
            tokens=self._tokens,
            tokens_per_second=rate,
            grad_norm=step.grad_norm,
            seconds_left=elapsed / self.steps_done * (self._steps - self.steps_done),
            rss_anon=memory.rss_anon,
            rss_file=memory.rss_file,
        )
