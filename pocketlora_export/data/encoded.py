"""One row as tokens and labels, or several rows that stay together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """Tokens and labels: int64 [n] each; a label is the token itself or -100.

    `lengths`: the rows of a packed row, whose lengths add up to n; empty = it is one row.
    """

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths: tuple[int, ...] = ()

    @property
    def segments(self) -> tuple[int, ...]:
        """The length of each row in it."""
        return self.lengths or (len(self.tokens),)

    def truncated(self, length: int) -> Encoded:
        """The first `length` tokens."""
        tokens, labels = self.tokens[:length], self.labels[:length]
        if not self.lengths:
            return Encoded(tokens, labels)
        ends = [min(end, length) for end in itertools.accumulate(self.lengths)]
        kept = [end - start for start, end in itertools.pairwise([0, *ends]) if end > start]
        return Encoded(tokens, labels, tuple(kept))

    @classmethod
    def together(cls, *rows: Encoded) -> Encoded:
        """Rows that stay together."""
        tokens, labels = (np.concatenate(parts) for parts in zip(*((r.tokens, r.labels) for r in rows), strict=True))
        return cls(tokens, labels, tuple(len(row.tokens) for row in rows))

    def has_target(self) -> bool:
        """Whether any token is learned: the first one of a row never is, nothing comes before it."""
        wanted = self.labels != IGNORED
        wanted[[0, *itertools.accumulate(self.segments[:-1])]] = False
        return bool(wanted.any())
