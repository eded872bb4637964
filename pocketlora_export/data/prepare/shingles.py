"""What near-duplicates are told by: hashed runs of three words, MinHash signatures, bands of them.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", chapter 3.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORDS = 3
HASHES = 64
# Scripts that put no space between words count by the character: Thai to Lao, Burmese, Khmer, kana, Han.
_UNSPACED = ((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0x3100), (0x3400, 0x4DC0), (0x4E00, 0xA000))
_SEPARATOR, _LETTER, _WORD = 0, 1, 2
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
# Of the polynomial that a word's hash is, modulo 2^64; odd, so that it has an inverse.
_BASE = 0xD1342543DE82EF95
_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclass(frozen=True)
class Shingles:
    """Of several rows: `hashes` uint32, ascending and different within a row; `lengths` int64 [rows]."""

    hashes: NDArray[np.uint32]
    lengths: NDArray[np.int64]


class Shingler:
    """Texts to shingles. Case and punctuation make no difference."""

    def __init__(self) -> None:
        self._kinds = _kinds_of_characters()
        self._powers = _powers(_BASE, 1 << 16)
        self._inverses = _powers(_INVERSE, 1 << 16)

    def __call__(self, texts: Sequence[str]) -> Shingles:
        """The shingles of each text; at least one for each."""
        if not texts:
            return Shingles(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64))
        words, counts = self._words(texts)
        rows = np.repeat(np.arange(len(texts)), counts)
        # A run begins at each word that has two more of its row behind it.
        last = np.cumsum(counts) - WORDS
        begins = np.flatnonzero(np.arange(len(words)) <= last[rows])
        mixed = sum((words[begins + k] * _ODD[k] for k in range(WORDS)), np.zeros(len(begins), dtype=np.uint64))
        hashed = np.sort((rows[begins].astype(np.uint64) << np.uint64(32)) | (_mix(mixed) >> np.uint64(32)))
        unique = hashed[np.concatenate([[True], hashed[1:] != hashed[:-1]])]
        lengths = np.bincount((unique >> np.uint64(32)).astype(np.int64), minlength=len(texts))
        return Shingles(unique.astype(np.uint32), lengths.astype(np.int64))

    def _words(self, texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of the words of all texts, and how many each text has: WORDS at least, filled up with 0."""
        lowered = [text.lower() for text in texts]
        characters = np.frombuffer("\n".join([*lowered, ""]).encode("utf-32-le"), dtype="<u4")
        begins, ends = _bounds(self._kinds[characters])
        hashes = self._hashes(characters, begins, ends)
        # Behind each text is one separator.
        text_ends = np.cumsum([len(text) + 1 for text in lowered])
        rows = np.searchsorted(text_ends, begins, side="right")
        found = np.bincount(rows, minlength=len(texts))
        counts = np.maximum(found, WORDS)
        starts = np.cumsum(counts) - counts
        words = np.zeros(int(counts.sum()), dtype=np.uint64)
        words[starts[rows] + np.arange(len(rows)) - (np.cumsum(found) - found)[rows]] = hashes
        for row in np.flatnonzero(found == 0).tolist():
            words[starts[row]] = zlib.crc32(texts[row].encode())
        return words, counts

    def _hashes(
        self, characters: NDArray[np.uint32], begins: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """Of each word: the sum of its characters times powers of the base, counted from the word's beginning."""
        if len(characters) > len(self._powers):
            self._powers = _powers(_BASE, 2 * len(characters))
            self._inverses = _powers(_INVERSE, 2 * len(characters))
        terms = _mix(characters.astype(np.uint64) + np.uint64(1)) * self._powers[: len(characters)]
        sums = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype=np.uint64)])
        return _mix((sums[ends] - sums[begins]) * self._inverses[begins])


def _kinds_of_characters() -> NDArray[np.uint8]:
    """For each code point _SEPARATOR, _LETTER (of a longer word) or _WORD (on its own)."""
    categories = [unicodedata.category(chr(point))[0] for point in range(0x110000)]
    kinds = np.where(np.isin(np.array(categories, dtype="<U1"), ["L", "N", "M"]), _LETTER, _SEPARATOR).astype(np.uint8)
    for low, high in _UNSPACED:
        kinds[low:high] = np.where(kinds[low:high] == _LETTER, _WORD, _SEPARATOR)
    return kinds


def _bounds(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where words begin and end. The last character is a separator."""
    letter = kinds == _LETTER
    before = np.concatenate([[False], letter[:-1]])
    begins = np.flatnonzero((letter & ~before) | (kinds == _WORD))
    after = np.concatenate([letter[1:], [False]])
    ends = np.flatnonzero((letter & ~after) | (kinds == _WORD)) + 1
    return begins, ends


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """1, base, base^2, ... modulo 2^64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(29))


def _coefficients() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    random = np.random.Generator(np.random.PCG64(0x5EED))
    high = np.iinfo(np.uint64).max
    values = random.integers(0, high, size=(2, HASHES), dtype=np.uint64, endpoint=True)
    return values[0] | np.uint64(1), values[1]


_A, _B = _coefficients()


def signatures(shingles: Shingles) -> NDArray[np.uint32]:
    """MinHash of each row, uint32 [rows, HASHES]: two agree in a place with the probability of their similarity."""
    starts = np.cumsum(shingles.lengths) - shingles.lengths
    wide = shingles.hashes.astype(np.uint64)
    result = np.empty((len(starts), HASHES), dtype=np.uint32)
    for place in range(HASHES):
        # Multiply-shift: the upper half of the product is as good as random.
        values = ((wide * _A[place] + _B[place]) >> np.uint64(32)).astype(np.uint32)
        result[:, place] = np.minimum.reduceat(values, starts) if len(starts) else 0
    return result


def band_count(similarity: float) -> int:
    """As few bands as find a pair of this similarity with a probability of 0.99."""
    for bands in (4, 8, 16, 32):
        if 1 - (1 - similarity ** (HASHES // bands)) ** bands >= 0.99:
            return bands
    return HASHES


def band_keys(signature: NDArray[np.uint32], bands: int) -> NDArray[np.uint64]:
    """uint64 [rows, bands]: rows with one key in a band agree in all places of the band."""
    width = HASHES // bands
    parts = signature.astype(np.uint64).reshape(len(signature), bands, width)
    keys = np.zeros((len(signature), bands), dtype=np.uint64)
    for place in range(width):
        keys = _mix(keys * _ODD[0] + parts[:, :, place] + np.uint64(1))
    return keys
