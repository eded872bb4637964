"""Which rows repeat others, and which part of the data a row belongs to: by hashes of the content alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.shuffle import splitmix64

SPLITS = ("train", "valid", "test")


def first_of_each(keys: NDArray[np.uint64], eligible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the first eligible row with the same key, int64 [rows]; itself for a row that is not eligible.

    `keys`: uint64 [rows, 2], a hash of 128 bits.
    """
    leaders = np.arange(len(keys), dtype=np.int64)
    rows = np.flatnonzero(eligible)
    # Stable: rows with one key stay in order.
    order = rows[np.lexsort((keys[rows, 1], keys[rows, 0]))]
    sorted_keys = keys[order]
    first = np.concatenate([[True], (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)])[: len(order)]
    leaders[order] = order[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(order) else order
    return leaders


def split_of(keys: NDArray[np.uint64], seed: int, valid_share: float, test_share: float) -> NDArray[np.uint8]:
    """The place in SPLITS of each row, uint8 [rows]: the same for the same content, wherever it stands."""
    start = np.uint64(splitmix64(seed)[1])
    mixed = keys[:, 0] ^ start
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    place = (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) * 2.0**-64
    return np.where(place < test_share, 2, np.where(place < test_share + valid_share, 1, 0)).astype(np.uint8)
