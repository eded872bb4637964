"""Rows of tokens, several in one line: best fit among a bounded number of lines that are not full yet."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field

_OPEN = 64


@dataclass(frozen=True)
class Piece:
    """One row: how many tokens, and its tokens and labels as `process.token_fragment` writes them."""

    count: int
    tokens: bytes
    labels: bytes


@dataclass
class _Line:
    pieces: list[Piece] = field(default_factory=list)


class Packer:
    """Takes rows, writes lines.

    Attributes:
        lines: lines written so far.
    """

    def __init__(self, length: int, max_segments: int, write: Callable[[bytes], None]) -> None:
        """`length`: tokens of a line; no row may have more. `max_segments`: rows of a line."""
        self.lines = 0
        self._length, self._max_segments, self._write = length, max_segments, write
        # (tokens left, number of the line), ascending: the first that is large enough is the best fit.
        self._spaces: list[tuple[int, int]] = []
        self._open: dict[int, _Line] = {}
        self._begun = 0

    def add(self, piece: Piece) -> None:
        """One more row."""
        at = bisect.bisect_left(self._spaces, (piece.count, -1))
        if at < len(self._spaces):
            space, number = self._spaces.pop(at)
        else:
            space, number = self._length, self._begun
            self._begun += 1
            self._open[number] = _Line()
        line = self._open[number]
        line.pieces.append(piece)
        # A row has at least two tokens.
        if space - piece.count < 2 or len(line.pieces) == self._max_segments:
            self._emit(number)
            return
        bisect.insort(self._spaces, (space - piece.count, number))
        if len(self._spaces) > _OPEN:
            self._emit(self._spaces.pop(0)[1])

    def finish(self) -> None:
        """Write what is not full."""
        for number in sorted(self._open):
            self._emit(number)
        self._spaces.clear()

    def _emit(self, number: int) -> None:
        self._write(token_line(self._open.pop(number).pieces, packed=True))
        self.lines += 1


def token_line(pieces: list[Piece], *, packed: bool) -> bytes:
    """A row of docs/text-rows.md, `lengths` only where there is more than one row in it."""
    line = b'{"token_ids": [' + b",".join(piece.tokens for piece in pieces) + b"]"
    if any(piece.labels for piece in pieces):
        line += b', "labels": [' + b",".join(piece.labels or piece.tokens for piece in pieces) + b"]"
    if packed and len(pieces) > 1:
        line += b', "lengths": [' + b",".join(b"%d" % piece.count for piece in pieces) + b"]"
    return line + b"}\n"
