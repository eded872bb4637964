"""What near-duplicates are told by: hashed runs of three words, MinHash signatures, bands of them.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", chapter 3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORDS = 3
HASHES = 64
# Scripts that put no space between words count by the character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_CACHED_WORDS = 1 << 18
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


@dataclass(frozen=True)
class Shingles:
    """Of several rows: `hashes` uint32, ascending and different within a row; `lengths` int64 [rows]."""

    hashes: NDArray[np.uint32]
    lengths: NDArray[np.int64]


class Shingler:
    """Texts to shingles. Case and punctuation make no difference."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> Shingles:
        """The shingles of each text; at least one for each."""
        if not texts:
            return Shingles(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64))
        hashed = [self._hash_words(text) for text in texts]
        counts = np.array([len(words) for words in hashed], dtype=np.int64)
        words = np.array([word for row in hashed for word in row], dtype=np.uint64)
        rows = np.repeat(np.arange(len(texts)), counts)
        # A run begins at each word that has two more of its row behind it.
        last = np.cumsum(counts) - WORDS
        begins = np.flatnonzero(np.arange(len(words)) <= last[rows])
        mixed = sum((words[begins + k] * _ODD[k] for k in range(WORDS)), np.zeros(len(begins), dtype=np.uint64))
        unique = np.unique((rows[begins].astype(np.uint64) << np.uint64(32)) | (_mix(mixed) >> np.uint64(32)))
        lengths = np.bincount((unique >> np.uint64(32)).astype(np.int64), minlength=len(texts))
        return Shingles(unique.astype(np.uint32), lengths.astype(np.int64))

    def _hash_words(self, text: str) -> list[int]:
        known = self._words
        if len(known) > _CACHED_WORDS:
            known.clear()
        words = _WORD.findall(text.lower()) or [text]
        found = []
        for word in words:
            value = known.get(word)
            if value is None:
                value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                known[word] = value
            found.append(value)
        return found + [0] * (WORDS - len(found))


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
