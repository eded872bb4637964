"""Summing forward passes up to a loss over all unmasked tokens (docs/text-rows.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Batch(Protocol):
    """A packed batch: int64 tokens [N] and segments [rows + 1]."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[N]."""

    @property
    def segments(self) -> NDArray[np.int64]:
        """[rows + 1] offsets."""


class ForwardPass(Protocol):
    """What one forward pass reports."""

    @property
    def sum_nll(self) -> float:
        """Summed negative log-likelihood of the unmasked tokens."""

    @property
    def num_labels(self) -> int:
        """Number of unmasked tokens."""

    @property
    def num_tokens(self) -> int:
        """Rows computed."""

    @property
    def seconds(self) -> float:
        """Duration."""

    @property
    def logprobs(self) -> NDArray[np.float32] | None:
        """[N], NaN for the first token of a row; None when not asked for."""


AnyBatch = TypeVar("AnyBatch", bound=Batch)


@dataclass(frozen=True)
class RowLogprobs:
    """One row: its tokens and the log-probability of each, None for the first."""

    token_ids: list[int]
    logprobs: list[float | None]


@dataclass
class Metrics:
    """Totals over many batches."""

    sum_nll: float = 0.0
    tokens: int = 0
    computed_tokens: int = 0
    seconds: float = 0.0
    rows: list[RowLogprobs] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood over unmasked tokens, NaN without any."""
        return self.sum_nll / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that is beyond a double."""
        return perplexity(self.loss)


def perplexity(loss: float) -> float:
    """exp(loss) without overflow errors."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def evaluate(batches: Iterable[AnyBatch], forward: Callable[[AnyBatch], ForwardPass]) -> Metrics:
    """Run `forward` on every batch and sum up, log-probabilities included where it returns them."""
    total = Metrics()
    for batch in batches:
        result = forward(batch)
        total.sum_nll += result.sum_nll
        total.tokens += result.num_labels
        total.computed_tokens += result.num_tokens
        total.seconds += result.seconds
        if result.logprobs is not None:
            total.rows.extend(split_rows(batch, result.logprobs))
    return total


def split_rows(batch: Batch, logprobs: NDArray[np.float32]) -> list[RowLogprobs]:
    """The rows of one packed batch; NaN, the first token of a row, becomes None."""
    bounds = zip(batch.segments[:-1].tolist(), batch.segments[1:].tolist(), strict=True)
    return [_row(batch.tokens[start:end], logprobs[start:end]) for start, end in bounds]


def _row(tokens: NDArray[np.int64], logprobs: NDArray[np.float32]) -> RowLogprobs:
    return RowLogprobs(tokens.tolist(), [None, *logprobs[1:].tolist()])
