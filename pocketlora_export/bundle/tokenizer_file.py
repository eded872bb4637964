"""Writing a tokenizer file: sections, hash tables and sums (docs/tokenizer.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAGIC = b"PLTOKEN\0"
VERSION = 1
NONE = 0xFFFFFFFF
ID_BITS = 20
RANK_BITS = 24
MAX_TOKENS = (1 << ID_BITS) - 1
MAX_MERGES = 1 << RANK_BITS
_ALIGNMENT = 64
_HEADER_BYTES = 64
_SUMMED_FROM = 24
_SECTION_BYTES = 24
_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
# Slots for each entry of a hash table: a search for what is not there ends after a few.
_SPACE = 1.5


class Section(IntEnum):
    """Numbers of the sections."""

    SETTINGS = 1
    TOKEN_OFFSETS = 2
    TOKEN_BYTES = 3
    TOKEN_FLAGS = 4
    WORDS = 5
    PAIRS = 6
    RESULTS = 7
    BYTE_IDS = 8
    CHARACTERS = 9
    KIND_INDEX = 10
    KIND_BLOCKS = 11
    INSTRUCTIONS = 12
    NORMALIZER = 13
    PRE_TOKENIZER = 14
    DECODER = 15
    TEXTS = 16
    ADDED = 17
    RAW_TRIE = 18
    NORMALIZED_TRIE = 19
    TEMPLATE = 20
    NORM_INDEX = 21
    NORM_BLOCKS = 22
    NORM_RECORDS = 23
    NORM_CHARACTERS = 24
    COMPOSITIONS = 25


SETTINGS = np.dtype([("fields", "<u4", 10), ("word_set", "<u8")])
INSTRUCTION = np.dtype([("op", "<u4"), ("target", "<u4"), ("min", "<u4"), ("max", "<u4"), ("set", "<u8")])
STEP = np.dtype([("fields", "<u4", 8)])
PAIR = np.dtype([("first", "<u4"), ("second", "<u4")])
TRIE_NODE = np.dtype([("first", "<u4"), ("count", "<u2"), ("label", "u1"), ("reserved", "u1"), ("added", "<u4")])
NORM_RECORD = np.dtype([("flags", "<u4"), ("canonical", "<u4"), ("compatible", "<u4"), ("sizes", "<u2", 2)])
COMPOSITION = np.dtype([("fields", "<u4", 4)])


def mix(value: int) -> int:
    """32 bits of hash of up to 64."""
    return (value * _GOLDEN & _MASK64) >> 32


def word_hash(word: bytes) -> int:
    """64 bits: FNV-1a, mixed once more because its upper bits are poor for short words."""
    value = 0xCBF29CE484222325
    for byte in word:
        value = (value ^ byte) * 0x100000001B3 & _MASK64
    return (value ^ value >> 32) * _GOLDEN & _MASK64


def hash_table(entries: Iterable[tuple[int, int]], count: int, empty: int) -> list[int]:
    """Open addressing with linear probing. `entries` are (hash of 32 bits, what the slot holds)."""
    size = int(count * _SPACE) + 1 if count else 0
    slots = [empty] * size
    for value, slot in entries:
        at = (value * size) >> 32
        while slots[at] != empty:
            at = at + 1 if at + 1 < size else 0
        slots[at] = slot
    return slots


def word_table(words: Mapping[bytes, int]) -> NDArray[np.uint32]:
    """Slots of words that are tokens: 12 bits of the hash, 20 of the id."""
    hashed = ((word_hash(word), token) for word, token in words.items())
    entries = ((value >> 32, (value & 0xFFF) << ID_BITS | token) for value, token in hashed)
    return np.array(hash_table(entries, len(words), NONE), dtype="<u4")


def pair_table(pairs: Mapping[tuple[int, int], int]) -> NDArray[np.uint64]:
    """Slots of pairs that merge: 20 bits of either id, 24 of the rank."""
    keyed = ((left << ID_BITS | right, rank) for (left, right), rank in pairs.items())
    entries = ((mix(key), key << RANK_BITS | rank) for key, rank in keyed)
    return np.array(hash_table(entries, len(pairs), _MASK64), dtype="<u8")


def character_table(ids: Mapping[int, int]) -> NDArray[np.void]:
    """Slots of (character, id)."""
    rows = list(ids.items())
    order = hash_table(((mix(c), i) for i, (c, _) in enumerate(rows)), len(rows), -1)
    return np.array([rows[i] if i >= 0 else (0, NONE) for i in order], dtype=PAIR)


def composition_table(compositions: Sequence[tuple[int, int, int]]) -> NDArray[np.void]:
    """Slots of (first, second, composed, 0)."""
    entries = ((mix(first << 32 | second), i) for i, (first, second, _) in enumerate(compositions))
    order = hash_table(entries, len(compositions), -1)
    rows = [((*compositions[i], 0) if i >= 0 else (NONE, 0, 0, 0),) for i in order]
    return np.array(rows, dtype=COMPOSITION)


@dataclass
class _Branch:
    children: dict[int, _Branch] = field(default_factory=dict)
    added: int = NONE


def trie(entries: Mapping[bytes, int]) -> NDArray[np.void]:
    """A trie in order of breadth, so that the children of a node lie together behind it."""
    if not entries:
        return np.zeros(0, dtype=TRIE_NODE)
    root = _Branch()
    for content, added in entries.items():
        branch = root
        for byte in content:
            branch = branch.children.setdefault(byte, _Branch())
        branch.added = added
    nodes = [(0, root)]
    rows = []
    for label, branch in nodes:  # grows while it is walked
        first = len(nodes)
        nodes += sorted(branch.children.items())
        rows.append((first if branch.children else 0, len(branch.children), label, 0, branch.added))
    return np.array(rows, dtype=TRIE_NODE)


def file_bytes(sections: Mapping[Section, NDArray[np.generic]]) -> bytes:
    """The whole file."""
    arrays = {number: np.ascontiguousarray(array) for number, array in sections.items() if array.size}
    table, contents = b"", b""
    begin = _aligned(_HEADER_BYTES + _SECTION_BYTES * len(arrays))
    parts = []
    at = begin
    for number, array in sorted(arrays.items()):
        data = array.tobytes()
        table += np.array([number, array.dtype.itemsize], "<u4").tobytes() + np.array([at, len(data)], "<u8").tobytes()
        parts.append(data + bytes(_aligned(len(data)) - len(data)))
        at += len(parts[-1])
    contents = b"".join(parts)
    header = np.array([VERSION, len(arrays)], "<u4").tobytes() + np.array([at, 0, 0, 0], "<u8").tobytes()
    summed = header + (table + bytes(begin - _HEADER_BYTES - len(table))) + contents
    return MAGIC + _sums(summed) + summed


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _sums(data: bytes) -> bytes:
    """The sum of the 64-bit words, and the sum of its running values."""
    words = np.frombuffer(data, "<u8")
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    sums = np.array([words.sum(dtype=np.uint64), (words * weights).sum(dtype=np.uint64)], "<u8")
    return bytes(sums.tobytes())
