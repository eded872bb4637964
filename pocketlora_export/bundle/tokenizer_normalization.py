"""Tables for Unicode's normalization forms in tokenizer files.

The values are Python's, which Unicode never changes once they are given; the characters that have any are those of
Hugging Face's library, whose tables are older (tokenizer_unicode.txt).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.bundle.tokenizer_characters import CODE_POINTS, named

NFC_INERT = 0x100
NFKC_INERT = 0x200
_SYLLABLES = range(0xAC00, 0xAC00 + 11172)
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
_COMPOSED: tuple[tuple[Form, int], ...] = (("NFC", NFC_INERT), ("NFKC", NFKC_INERT))
_DECOMPOSED: tuple[Form, ...] = ("NFD", "NFKD")
# Vowels and tails that Hangul's arithmetic composes with what is before them.
_JAMO = range(0x1161, 0x11C3)


@dataclass
class Tables:
    """What normalization needs.

    `records` rows are flags, canonical and compatible offset, canonical and compatible size; `index` names each
    character's, uint16 [0x110000]. `compositions` are (first, second, composed).
    """

    index: NDArray[np.uint16]
    records: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    compositions: list[tuple[int, int, int]] = field(default_factory=list)


def _known() -> list[int]:
    found = named("normalizing")
    assert found is not None
    return [int(c) for c in np.flatnonzero(found) if int(c) not in _SYLLABLES]


def _compositions(known: list[int]) -> list[tuple[int, int, int]]:
    found = []
    for code in known:
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        if unicodedata.normalize("NFC", chr(code)) == chr(code):
            found.append((int(parts[0], 16), int(parts[1], 16), code))
    return found


def _decomposed(form: Form, code: int) -> list[int]:
    found = [ord(c) for c in unicodedata.normalize(form, chr(code))]
    return [] if found == [code] else found


def _flags(code: int, seconds: set[int]) -> int:
    """Combining class, and whether the character is unchanged whatever is around it."""
    character = chr(code)
    combining = unicodedata.combining(character)
    free = combining == 0 and code not in seconds
    inert = [flag for form, flag in _COMPOSED if free and unicodedata.normalize(form, character) == character]
    return combining | sum(inert)


def normalization_tables() -> Tables:
    """The tables of all forms."""
    known = _known()
    decomposing = set(known)
    compositions = _compositions(known)
    seconds = {second for _, second, _ in compositions} | set(_JAMO)
    tables = Tables(np.zeros(CODE_POINTS, dtype=np.uint16), compositions=compositions)
    tables.records.append((NFC_INERT | NFKC_INERT, 0, 0, 0, 0))
    for code in sorted({*known, *seconds}):
        canonical, compatible = (_decomposed(form, code) if code in decomposing else [] for form in _DECOMPOSED)
        offset = len(tables.characters)
        tables.characters += [*canonical, *compatible]
        sizes = (len(canonical), len(compatible))
        tables.index[code] = len(tables.records)
        tables.records.append((_flags(code, seconds), offset, offset + sizes[0], *sizes))
    return tables
