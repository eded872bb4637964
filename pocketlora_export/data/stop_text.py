"""Ending a text where one of several strings begins, without ever showing a part of it."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes a growing text on; what may be the beginning of a stop string is held back until that is certain."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` are not empty; the one that begins first ends the text."""
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that has become certain; "" once a stop string was found."""
        if self.found is not None:
            return ""
        self._held += piece
        places = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        # One that begins earlier and is not complete yet would win: wait for it.
        first = min((at for at, _ in places), default=len(self._held))
        begin = self._possible_begin(first)
        if places and begin == first:
            # Of those that begin at the same place the shortest was complete first.
            self.found = min((stop for at, stop in places if at == first), key=len)
        shown, self._held = self._held[:begin], "" if self.found else self._held[begin:]
        return shown

    def flush(self) -> str:
        """The text has ended: what was held back is part of it after all, up to a stop string in it."""
        if self.found is not None:
            return ""
        places = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if places:
            at, self.found = min(places)
            self._held = self._held[:at]
        shown, self._held = self._held, ""
        return shown

    def _possible_begin(self, before: int) -> int:
        """Where a stop string may begin first, when it is cut off by the end of the text; else `before`."""
        longest = max((len(stop) for stop in self._stops), default=1)
        for at in range(max(0, len(self._held) - longest + 1), before):
            if any(stop.startswith(self._held[at:]) for stop in self._stops):
                return at
        return before
