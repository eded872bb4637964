"""Collecting every problem of a data file before complaining once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pocketlora_export.errors import PocketLoraError, Status

SHOWN = 20


@dataclass
class Problems:
    """Problems of one file, each with its line."""

    path: Path
    lines: list[str] = field(default_factory=list)
    statuses: set[Status] = field(default_factory=set)

    def add(self, line: int, message: str, status: Status = Status.INPUT_MALFORMED) -> None:
        """Note one problem of line `line` (1 is the first)."""
        self.lines.append(f"{self.path}:{line}: {message}")
        self.statuses.add(status)

    def raise_if_any(self) -> None:
        """Raise one error that lists the first problems and counts the rest; do nothing when there are none."""
        if not self.lines:
            return
        status = next(iter(self.statuses)) if len(self.statuses) == 1 else Status.INPUT_MALFORMED
        if len(self.lines) == 1:
            raise PocketLoraError(status, self.lines[0])
        rest = len(self.lines) - SHOWN
        more = [f"  ... and {rest} more"] if rest > 0 else []
        shown = [f"  - {line}" for line in self.lines[:SHOWN]]
        raise PocketLoraError(status, "\n".join([f"{len(self.lines)} rows cannot be used:", *shown, *more]))
