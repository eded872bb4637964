"""The C++ tokenizer gives Hugging Face's ids and Hugging Face's texts, for every kind of tokenizer.json."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from tokenizers import Tokenizer

from pocketlora_export.bundle.tokenizer_characters import TABLE
from pocketlora_export.bundle.tokenizer_convert import convert_tokenizer
from pocketlora_export.bundle.tokenizer_library import CompactTokenizer
from tests.tokenizer.kinds import KINDS
from tests.tokenizer.strings import COUNT, malformed, texts

Pair = tuple[Tokenizer, CompactTokenizer]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A tokenizer, and its file opened by the C++ library."""
    tokenizer = KINDS[request.param]()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.plt"
    path.write_bytes(convert_tokenizer(tokenizer))
    with CompactTokenizer(path) as compact:
        yield tokenizer, compact


def differing(pair: Pair, strings: tuple[str, ...]) -> list[str]:
    tokenizer, compact = pair
    expected = tokenizer.encode_batch(list(strings))
    found = (compact.encode(text) for text in strings)
    return [text for text, e, ids in zip(strings, expected, found, strict=True) if e.ids != ids]


def test_ids(pair: Pair) -> None:
    strings = (*texts(), *(data.decode("utf-8", "replace") for data in malformed()))
    assert len(strings) >= COUNT
    wrong = differing(pair, strings)
    assert not wrong, f"{len(wrong)} of {len(strings)}, first {min(wrong, key=len)!r}"


def test_malformed_utf8_is_read_as_python_replaces_it(pair: Pair) -> None:
    _, compact = pair
    for data in malformed():
        assert compact.encode(data) == compact.encode(data.decode("utf-8", "replace")), data


def test_without_special_tokens(pair: Pair) -> None:
    tokenizer, compact = pair
    for text in texts()[:500]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert compact.encode(text, add_special_tokens=False) == ids, text


def around(code_points: Iterable[int]) -> tuple[str, ...]:
    """Strings with each character between letters, digits and itself, so that its class and its normal form show."""
    characters = [chr(c) for c in code_points if c < 0x110000 and not 0xD800 <= c < 0xE000]
    chunks = [characters[at : at + 40] for at in range(0, len(characters), 40)]
    return tuple("".join(f"{c}a{c}1 {c}\n{c}" for c in chunk) + "".join(chunk) for chunk in chunks)


def test_ends_of_every_range_of_characters(pair: Pair) -> None:
    ranges = (span.partition("-") for line in TABLE.read_text().splitlines()[1:] for span in line.split()[1:])
    ends = {int(end, 16) for first, _, last in ranges for end in (first, last or first)}
    wrong = differing(pair, around(sorted(ends)))
    assert not wrong, f"first {wrong[0]!r}"


@pytest.mark.slow
def test_every_character(pair: Pair) -> None:
    wrong = differing(pair, around(range(0x110000)))
    assert not wrong, f"first {wrong[0]!r}"


@pytest.mark.parametrize("skip", [True, False])
def test_decoding_and_streaming(pair: Pair, skip: bool) -> None:
    """Ids of texts and ids at random: the whole text, and the same text piece by piece, none ending in a character."""
    tokenizer, compact = pair
    r = random.Random(22)
    end = max(tokenizer.get_vocab().values()) + 10
    sequences = [tokenizer.encode(text).ids for text in texts()[:500]]
    sequences += [[r.randrange(end) for _ in range(r.randint(0, 20))] for _ in range(500)]
    sequences += [[number for number in ids for _ in range(r.randint(0, 2))] for ids in sequences[:300]]
    for ids in sequences:
        expected = tokenizer.decode(ids, skip_special_tokens=skip)
        assert compact.decode(ids, skip_special_tokens=skip).decode("utf-8") == expected, ids
        pieces = compact.stream(ids, skip_special_tokens=skip)
        assert "".join(piece.decode("utf-8") for piece in pieces) == expected, ids
