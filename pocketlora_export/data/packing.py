"""Packing rows into micro-batches (docs/text-rows.md, "Order and packing")."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.shuffle import row_order


@dataclass(frozen=True)
class PackLimits:
    """What one micro-batch may hold: tokens and rows."""

    max_tokens: int
    max_segments: int


@dataclass(frozen=True)
class MicroBatch:
    """Rows one after the other: int64 tokens [N], labels [N], and segments [rows + 1] offsets."""

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    segments: NDArray[np.int64]


def pack(rows: Iterable[Encoded], limits: PackLimits) -> list[MicroBatch]:
    """Pack rows in order; a new micro-batch begins where the next row, with all rows in it, would not fit."""
    batches: list[MicroBatch] = []
    open_rows: list[Encoded] = []
    used, segments = 0, 0
    for row in rows:
        full = used + len(row.tokens) > limits.max_tokens or segments + len(row.segments) > limits.max_segments
        if open_rows and full:
            batches.append(_batch(open_rows))
            open_rows, used, segments = [], 0, 0
        open_rows.append(row)
        used += len(row.tokens)
        segments += len(row.segments)
    if open_rows:
        batches.append(_batch(open_rows))
    return batches


def steps(
    rows: Sequence[Encoded], *, batch_size: int, accumulation: int, seed: int, limits: PackLimits, done: int = 0
) -> Iterator[list[MicroBatch]]:
    """The micro-batches of one optimizer step after the other, without end, rows shuffled anew every epoch.

    The first `done` steps are left out.
    """
    order = row_order(len(rows), seed, done * batch_size * accumulation)
    while True:
        groups = [[rows[next(order)] for _ in range(batch_size)] for _ in range(accumulation)]
        yield [batch for group in groups for batch in pack(group, limits)]


def rows_crc32(rows: Iterable[Encoded]) -> int:
    """CRC-32 over all rows: of each the number of tokens, the lengths of its segments, tokens and labels, all int64."""
    crc = 0
    for row in rows:
        for values in ([len(row.tokens)], row.segments, row.tokens, row.labels):
            crc = zlib.crc32(np.asarray(values, dtype="<i8").tobytes(), crc)
    return crc


def _batch(rows: Sequence[Encoded]) -> MicroBatch:
    lengths = [length for row in rows for length in row.segments]
    return MicroBatch(
        np.concatenate([row.tokens for row in rows]),
        np.concatenate([row.labels for row in rows]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
