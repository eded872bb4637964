"""Sets of characters for tokenizer files: what Hugging Face's library knows of code points, and kinds made of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.errors import PocketLoraError, Status

CODE_POINTS = 0x110000
# As many as fit a 64-bit mask, the one of bytes that continue a character left out.
MAX_KINDS = 63
Characters = NDArray[np.bool_]

TABLE = Path(__file__).with_name("tokenizer_unicode.txt")


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def none() -> Characters:
    """The empty set."""
    return np.zeros(CODE_POINTS, dtype=np.bool_)


def one(character: int) -> Characters:
    """The set of one character."""
    found = none()
    found[character] = True
    return found


@lru_cache(maxsize=64)
def named(name: str) -> Characters | None:
    """A general category ("Lu"), a group of them ("L") or a set of the library ("space", "numeric", "word").

    None when there is no such set. The result is shared: do not write to it.
    """
    table = _table()
    names = [name] if name in table else [key for key in table if len(name) == 1 and key[0] == name and len(key) == 2]
    if not names:
        return None
    found = none()
    for key in names:
        for span in table[key].split():
            first, _, last = span.partition("-")
            found[int(first, 16) : int(last or first, 16) + 1] = True
    return found


class CharacterSets:
    """Collects sets; in the end every character has a kind, and a set is a mask of kinds."""

    def __init__(self) -> None:
        self._sets: list[Characters] = []
        self._index: dict[bytes, int] = {}

    def add(self, characters: Characters) -> int:
        """The set's number."""
        key = np.packbits(characters).tobytes()
        if key not in self._index:
            self._index[key] = len(self._sets)
            self._sets.append(characters)
        return self._index[key]

    def union(self, sets: list[int]) -> int:
        """The number of the union of sets."""
        found = none()
        for number in sets:
            found |= self._sets[number]
        return self.add(found)

    def everything(self) -> int:
        """The number of the set of all characters."""
        return self.add(~none())

    def kinds(self) -> tuple[NDArray[np.uint8], list[int]]:
        """Kinds of all code points, uint8 [0x110000], and the mask of kinds of each set.

        Raises:
            PocketLoraError: INPUT_UNSUPPORTED when there are more kinds than a mask holds.
        """
        # Within a run of code points no set begins or ends; runs that lie in the same sets are of one kind.
        changes = np.zeros(CODE_POINTS - 1, dtype=np.bool_)
        for characters in self._sets:
            changes |= characters[1:] != characters[:-1]
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        numbers: dict[bytes, int] = {}
        columns = np.array([characters[starts] for characters in self._sets], dtype=np.uint8).reshape(-1, len(starts))
        of_run = [numbers.setdefault(column.tobytes(), len(numbers)) for column in columns.T]
        count = len(numbers)
        if count > MAX_KINDS:
            message = f"its patterns tell {count} kinds of characters apart, at most {MAX_KINDS} are supported"
            raise PocketLoraError(Status.INPUT_UNSUPPORTED, message)
        masks = [sum(1 << kind for key, kind in numbers.items() if key[i]) for i in range(len(self._sets))]
        return np.repeat(np.array(of_run, dtype=np.uint8), np.diff([*starts, CODE_POINTS])), masks


def two_stage(values: NDArray[np.generic], block: int = 128) -> tuple[NDArray[np.uint16], NDArray[np.generic]]:
    """A table over code points as block numbers, uint16 [0x110000 / block], and the different blocks."""
    numbers: dict[bytes, int] = {}
    blocks = values.reshape(-1, block)
    index = [numbers.setdefault(row.tobytes(), len(numbers)) for row in blocks]
    _, first = np.unique(index, return_index=True)
    return np.array(index, dtype=np.uint16), blocks[first]
