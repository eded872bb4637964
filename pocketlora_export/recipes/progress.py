"""How long work tells of itself, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what is being done and how far it is."""

    def begin(self, what: str, total: int) -> None:
        """A new piece of work of `total` units."""

    def advance(self, count: int, detail: str = "") -> None:
        """`count` more units are done; `detail` says what comes now."""

    def note(self, message: str) -> None:
        """Something that the user should know now."""


class Silent:
    """Nobody listens."""

    def begin(self, what: str, total: int) -> None:
        """Ignore."""

    def advance(self, count: int, detail: str = "") -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""
