"""Packing rows into micro-batches."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.packing import MicroBatch, PackLimits, pack, steps
from pocketlora_export.data.shuffle import row_order

LIMITS = PackLimits(max_tokens=32, max_segments=4)


def row(length: int, first: int = 0) -> Encoded:
    tokens = np.arange(first, first + length, dtype=np.int64)
    labels = tokens.copy()
    labels[: length // 2] = -100
    return Encoded(tokens, labels)


def unpacked(batch: MicroBatch) -> list[Encoded]:
    bounds = itertools.pairwise(batch.segments.tolist())
    return [Encoded(batch.tokens[a:b], batch.labels[a:b]) for a, b in bounds]


@given(st.lists(st.integers(2, LIMITS.max_tokens), max_size=30))
def test_nothing_is_lost_and_every_limit_is_kept(lengths: list[int]) -> None:
    rows = [row(length, 100 * i) for i, length in enumerate(lengths)]
    batches = pack(rows, LIMITS)
    for batch in batches:
        assert 0 < len(batch.tokens) <= LIMITS.max_tokens
        assert 1 < len(batch.segments) <= LIMITS.max_segments + 1
        assert batch.segments[0] == 0
        assert batch.segments[-1] == len(batch.tokens)
    back = [found for batch in batches for found in unpacked(batch)]
    assert [r.tokens.tolist() for r in back] == [r.tokens.tolist() for r in rows]
    assert [r.labels.tolist() for r in back] == [r.labels.tolist() for r in rows]


def test_a_new_batch_begins_only_where_a_row_does_not_fit() -> None:
    sizes = [batch.segments.tolist() for batch in pack([row(n) for n in (16, 16, 2, 31, 2, 2, 2, 2, 2)], LIMITS)]
    assert sizes == [[0, 16, 32], [0, 2], [0, 31], [0, 2, 4, 6, 8], [0, 2]]


def test_a_packed_row_keeps_its_segments_and_counts_them() -> None:
    packed = Encoded(np.arange(12), np.arange(12), (2, 4, 6))
    assert [batch.segments.tolist() for batch in pack([row(3), packed, row(2), packed], LIMITS)] == [
        [0, 3, 5, 9, 15],
        [0, 2, 4, 8, 14],
    ]


def test_a_packed_row_is_cut_in_its_last_row() -> None:
    cut = Encoded(np.arange(12), np.arange(12), (2, 4, 6)).truncated(5)
    assert cut.tokens.tolist() == [0, 1, 2, 3, 4]
    assert cut.lengths == (2, 3)


def test_steps_take_batch_size_times_accumulation_rows_in_the_shuffled_order() -> None:
    rows = [row(3, 10 * i) for i in range(7)]
    order = row_order(len(rows), 5)
    for step in itertools.islice(steps(rows, batch_size=3, accumulation=2, seed=5, limits=LIMITS), 4):
        assert [len(batch.segments) - 1 for batch in step] == [3, 3]
        first = [found.tokens[0] // 10 for batch in step for found in unpacked(batch)]
        assert first == list(itertools.islice(order, 6))
