"""A progress bar with time left on stderr for work that announces itself in phases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pocketlora_export.cli import console


class PhaseBar:
    """One bar, begun anew for each phase."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, total: int) -> None:
        """A new phase."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, status="")

    def advance(self, count: int, detail: str = "") -> None:
        """Some of it is done."""
        if self._task is not None:
            self._progress.update(self._task, advance=count, status=detail)

    def note(self, message: str) -> None:
        """A line above the bar."""
        console.note(message)

    def report(self, what: str, done: int, total: int) -> None:
        """For work that tells its state instead of its steps."""
        if self._task is None or self._progress.tasks[-1].description != what:
            self.begin(what, total)
        if self._task is not None:
            self._progress.update(self._task, completed=done)


@contextlib.contextmanager
def bar() -> Iterator[PhaseBar]:
    """Show a bar while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    # rich would leave an empty line in a log file.
    hidden = not console.stderr.is_terminal
    with Progress(*columns, console=console.stderr, transient=True, disable=hidden) as progress:
        yield PhaseBar(progress)
