"""Strings that tell tokenizers apart: ten thousand of them, the same every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from tests.tokenizer.kinds import CHAT, SCRIPTS, corpus

COUNT = 10_000
_SPACES = " \t\n\r\u000b\u000c\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\u180e\ufeff"
_DIGITS = "0123456789٠١٢۳४५৬²³½Ⅻ①〇零𝟘𝟡೬"
_MARKS = "\u0300\u0301\u0308\u0323\u0327\u0334\u0345\u093c\u3099\u05b0\u064b\u1ab0\U0001d165"
_EMOJI = "🙂👩👧👦🏽❤🇩🇪🔥☺⚽"
_JOINERS = "\u200d\ufe0f\u20e3"
_TRICKY = "'’sſStTdDmMllLLveVEreREKk▁Ġ<>|_-.,:;/\\\"#{}[]()*+=~`^"
_SPECIALS = [*CHAT, "<s>", "</s>", "<unk>", "<mask>", "<|begin_of_text|>", "<start_of_turn>", "<left>", "<right>"]
_SPECIALS += ["<both>", "word", "<le", "<lef", "  ", "ab", "abc", "bc", "<tool_call>", "<|im_", "\n\n", "▁▁", "<0x0A>"]
_SPECIALS += ["caf\u00e9", "cafe\u0301", "\u00e9t\u00e9", "été", "sword", "word.", "<table>"]


def _any_character(r: random.Random) -> str:
    # Half of the planes are empty; what is assigned is mostly in the first two.
    limit = r.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
    code = r.randrange(limit)
    return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"


def _from(alphabet: Sequence[str], longest: int) -> Callable[[random.Random], str]:
    return lambda r: "".join(r.choice(alphabet) for _ in range(r.randint(1, longest)))


def _slice(r: random.Random) -> str:
    text = r.choice(corpus())
    begin = r.randrange(len(text))
    return text[begin : begin + r.randint(1, 80)]


def _word(r: random.Random) -> str:
    return _from(["a", "b", "ab", "é", "e\u0301", "日", "X", "▁"], 1)(r) * r.randint(1, 150)


def _composed(r: random.Random) -> str:
    bases = ["a", "e", "A", "ȩ", "가", "ᄀ", "ᅡ", "ᆨ", "か", "ਗ", "ৌ", "ে", "া", "ﷺ", "ﬁ", "Å", "ḍ", "ȧ"]
    return "".join(r.choice(bases) + _from(_MARKS, 3)(r) * r.randint(0, 1) for _ in range(r.randint(1, 6)))


_PARTS: list[Callable[[random.Random], str]] = [
    lambda r: "".join(_any_character(r) for _ in range(r.randint(1, 12))),
    _from(_SPACES, 8),
    _from(" ", 20),
    _from(_DIGITS, 9),
    _from(_MARKS, 4),
    _from(_EMOJI + _JOINERS, 8),
    _from(_TRICKY, 8),
    _from(_SPECIALS, 3),
    lambda r: r.choice(SCRIPTS),
    _slice,
    _slice,
    _word,
    _composed,
]


@lru_cache(maxsize=1)
def texts() -> tuple[str, ...]:
    """Valid strings."""
    r = random.Random(20)
    mixed = ["".join(r.choice(_PARTS)(r) for _ in range(r.randint(1, 4))) for _ in range(COUNT - 1000)]
    return ("", " ", "\n", "\0", "a\0b", *mixed)


@lru_cache(maxsize=1)
def malformed() -> tuple[bytes, ...]:
    """Bytes that are not UTF-8, or hardly."""
    r = random.Random(21)
    pool = [0x20, 0x41, 0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF, 0xA0, 0x9F]
    found = [bytes(r.choice(pool) for _ in range(r.randint(1, 12))) for _ in range(500)]
    for text in r.sample(texts(), 500):
        data = bytearray(text.encode())
        for _ in range(min(3, len(data))):
            data[r.randrange(len(data))] = r.randrange(256)
        found.append(bytes(data)[: r.randint(0, len(data))])
    return tuple(found)
