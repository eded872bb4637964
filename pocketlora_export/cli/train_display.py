"""What a person sees of a running training on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import Progress, TaskID

from pocketlora_export.cli import console

BLOCKS = "▁▂▃▄▅▆▇█"
NO_NUMBER = "·"
SPARK_WIDTH = 20
# Seconds between two plain lines; the first and the last step are always told.
LINE_INTERVAL = 1.0


def sparkline(values: Iterable[float | None]) -> str:
    """Numbers as blocks between their lowest and their highest; what is no number is a dot."""
    known = list(values)
    finite = [value for value in known if value is not None and math.isfinite(value)]
    if not finite:
        return NO_NUMBER * len(known)
    low, span = min(finite), max(finite) - min(finite)
    top = len(BLOCKS) - 1
    return "".join(
        NO_NUMBER
        if value is None or not math.isfinite(value)
        else BLOCKS[round((value - low) / span * top) if span > 0 else top // 2]
        for value in known
    )


class TrainDisplay:
    """Follows the `progress` events (docs/events.md) of one run."""

    def __init__(self) -> None:
        self._losses: deque[float | None] = deque(maxlen=SPARK_WIDTH)
        self._bar: tuple[Progress, TaskID] | None = None
        self._last_line = -math.inf

    @contextmanager
    def running(self, steps: int) -> Iterator[None]:
        """Show the bar while the run lasts."""
        with console.training_progress() as bar:
            self._bar = bar, bar.add_task("training", total=steps, status="", left="")
            try:
                yield
            finally:
                self._bar = None

    def progress(self, event: Mapping[str, Any]) -> None:
        """One more step."""
        self._losses.append(event["loss"])
        if self._bar is not None and console.stderr.is_terminal:
            bar, task = self._bar
            status = f"loss {_number(event['loss'])} {sparkline(self._losses)}  {_facts(event)}"
            bar.update(task, completed=event["step"], status=status, left=_left(event["seconds_left"]))
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_INTERVAL or event["step"] == event["steps"]:
            self._last_line = now
            left = _left(event["seconds_left"])
            line = f"step {event['step']} of {event['steps']}: loss {_number(event['loss'])}, {_facts(event, ', ')}"
            console.note(line + (f", {left} left" if left else ""))


def _facts(event: Mapping[str, Any], separator: str = "  ") -> str:
    margin = [f"reward margin {_number(event['reward_margin'])}"] if "reward_margin" in event else []
    parts = (
        *margin,
        f"{event['tokens_per_second']:.0f} tokens/s",
        f"gradient norm {_number(event['grad_norm'])}",
        f"RssAnon {event['rss_anon'] / 1e6:.0f} MB",
    )
    return separator.join(parts)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _left(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03; nothing when it is not known."""
    if seconds < 0:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
