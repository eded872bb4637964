"""Near-duplicates by locality-sensitive hashing: candidates share a band, the exact similarity decides."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.prepare.shingles import HASHES, Shingles, band_count, band_keys, signatures

# A row is compared with at most this many of the rows that share a band with it: the newest of each.
_CANDIDATES = 64
# The share of equal places in two signatures is off by 0.0625 at most (one sigma): this far below is not compared.
_MARGIN = 0.25
_BLOCK = 1 << 14
_NONE = -1
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Prints:
    """Of several rows: shingles, signatures uint16 [rows, HASHES], band keys uint64 [rows, bands].

    A row without shingles takes no part.
    """

    shingles: Shingles
    signatures: NDArray[np.uint16]
    keys: NDArray[np.uint64]


def prints_of(shingles: Shingles, live: NDArray[np.bool_], similarity: float) -> Prints:
    """The prints of rows of which only those in `live` (bool [rows]) have `shingles`."""
    bands = band_count(similarity)
    lengths = np.zeros(len(live), dtype=np.int64)
    lengths[live] = shingles.lengths
    found = signatures(shingles)
    keys = np.zeros((len(live), bands), dtype=np.uint64)
    keys[live] = band_keys(found, bands)
    places = np.zeros((len(live), HASHES), dtype=np.uint16)
    places[live] = found.astype(np.uint16)
    return Prints(Shingles(shingles.hashes, lengths), places, keys)


class NearDuplicates:
    """Rows come in order; then each is told the first row that it is nearly equal to.

    Shingles, signatures and band keys lie in files of `folder`: 4 bytes a shingle, 128 bytes a row, 8 bytes a band and
    row. In memory are about 30 bytes a row, and 4 bytes for each bucket of a band that holds two rows or more.
    """

    def __init__(self, folder: Path, similarity: float) -> None:
        folder.mkdir()
        self._folder = folder
        self._similarity = similarity
        self._bands = band_count(similarity)
        self._rows = 0
        self._shingles = (folder / "shingles").open("wb")
        self._lengths = (folder / "lengths").open("wb")
        self._signatures = (folder / "signatures").open("wb")
        self._keys: list[BinaryIO] = [(folder / f"band-{band}").open("wb") for band in range(self._bands)]

    def add(self, rows: Prints) -> None:
        """More rows."""
        self._rows += len(rows.shingles.lengths)
        self._shingles.write(rows.shingles.hashes.tobytes())
        self._lengths.write(rows.shingles.lengths.tobytes())
        self._signatures.write(rows.signatures.tobytes())
        for band, file in enumerate(self._keys):
            file.write(np.ascontiguousarray(rows.keys[:, band]).tobytes())

    def find(self, eligible: NDArray[np.bool_], advance: Advance) -> NDArray[np.int64]:
        """For each row the earlier row that it nearly repeats, int64 [rows]; itself where there is none.

        Rows that nearly repeat another are not compared with, so that a chain of small changes does not swallow what is
        far from its beginning. `eligible`: rows that take part; `advance` is called with the number of rows done.
        """
        self.close()
        leaders = np.arange(self._rows, dtype=np.int64)
        if not self._rows:
            return leaders
        buckets, count = self._buckets(eligible)
        lengths = np.fromfile(self._folder / "lengths", dtype=np.int64)
        with (self._folder / "shingles").open("rb") as shingles, (self._folder / "signatures").open("rb") as places:
            known = _Known(shingles.fileno(), places.fileno(), np.cumsum(lengths) - lengths, lengths)
            search = _Search(buckets, np.full(count, _NONE, dtype=np.int32), known, self._similarity)
            for start in range(0, self._rows, _BLOCK):
                block = buckets[start : start + _BLOCK]
                for row in np.flatnonzero((block != _NONE).any(axis=1)) + start:
                    leaders[row] = search.place(int(row))
                advance(min(start + _BLOCK, self._rows))
        return leaders

    def close(self) -> None:
        """Close the files that are written."""
        for file in (self._shingles, self._lengths, self._signatures, *self._keys):
            file.close()

    def _buckets(self, eligible: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
        """int32 [rows, bands] in a file: the number of the bucket that a row shares with others, and their count."""
        shape = (self._rows, self._bands)
        buckets: NDArray[np.int32] = np.memmap(self._folder / "buckets", dtype=np.int32, mode="w+", shape=shape)
        candidates = np.flatnonzero(eligible)
        count = 0
        for band in range(self._bands):
            keys = np.fromfile(self._folder / f"band-{band}", dtype=np.uint64)[candidates]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            same = np.concatenate([[False], keys[1:] == keys[:-1]])[: len(keys)]
            numbers = np.cumsum(~same) - 1
            shared = np.bincount(numbers)[numbers] > 1 if len(numbers) else same
            # Numbers without gaps for the buckets that are shared.
            first = shared & ~same
            column = np.full(self._rows, _NONE, dtype=np.int32)
            column[candidates[order[shared]]] = count + np.cumsum(first)[shared] - 1
            count += int(first.sum())
            buckets[:, band] = column
        return buckets, count


@dataclass(frozen=True)
class _Known:
    """What was added, read from the files where it is needed: mapped files would grow this process with the rows."""

    shingle_file: int
    signature_file: int
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def shingles(self, row: int) -> NDArray[np.uint32]:
        """Of one row."""
        size, start = 4 * int(self.lengths[row]), 4 * int(self.offsets[row])
        return np.frombuffer(os.pread(self.shingle_file, size, start), dtype=np.uint32)

    def signatures(self, rows: list[int]) -> NDArray[np.uint16]:
        """Of several rows: [rows, HASHES]."""
        size = 2 * HASHES
        found = b"".join(os.pread(self.signature_file, size, size * row) for row in rows)
        return np.frombuffer(found, dtype=np.uint16).reshape(-1, HASHES)


class _Search:
    """The rows so far that repeat none, as one chain a bucket: `heads` has the newest, a row's cell the one before."""

    def __init__(self, buckets: NDArray[np.int32], heads: NDArray[np.int32], known: _Known, similarity: float) -> None:
        self._buckets, self._heads = buckets, heads
        self._known = known
        self._similarity = similarity

    def place(self, row: int) -> int:
        """The row that `row` nearly repeats, or itself, which later rows are then compared with."""
        cells = [(band, bucket) for band, bucket in enumerate(self._buckets[row].tolist()) if bucket != _NONE]
        found = self._first_similar(row, self._candidates(cells))
        if found is not None:
            return found
        for band, bucket in cells:
            self._buckets[row, band] = self._heads[bucket]
            self._heads[bucket] = row
        return row

    def _candidates(self, cells: list[tuple[int, int]]) -> list[int]:
        found: set[int] = set()
        for band, bucket in cells:
            other = int(self._heads[bucket])
            steps = 0
            while other != _NONE and steps < _CANDIDATES and len(found) < _CANDIDATES:
                found.add(other)
                other, steps = int(self._buckets[other, band]), steps + 1
        return sorted(found)

    def _first_similar(self, row: int, others: list[int]) -> int | None:
        if not others:
            return None
        places = self._known.signatures([row, *others])
        equal = (places[1:] == places[0]).mean(axis=1)
        mine = self._known.shingles(row)
        likely = [other for other, share in zip(others, equal, strict=True) if share >= self._similarity - _MARGIN]
        return next((other for other in likely if self._similar(mine, self._known.shingles(other))), None)

    def _similar(self, mine: NDArray[np.uint32], other: NDArray[np.uint32]) -> bool:
        common = len(np.intersect1d(mine, other, assume_unique=True))
        return common >= self._similarity * (len(mine) + len(other) - common)
