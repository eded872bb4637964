"""Kinds of rows and cleaning."""

from __future__ import annotations

from typing import Any

import pytest

from pocketlora_export.data.prepare.clean import clean_text
from pocketlora_export.data.prepare.options import KINDS, PrepareOptions
from pocketlora_export.data.prepare.sample import REQUIRED, parse_sample
from pocketlora_export.errors import PocketLoraError

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def parsed(row: Any, **options: Any) -> Any:
    return parse_sample(row, PrepareOptions(**options))


def test_the_kinds_are_those_of_the_option() -> None:
    assert tuple(REQUIRED) == KINDS


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ({"text": "t", "extra": 1}, "text", []),
        ({"question": "q", "answer": "a"}, "qa", ["q", "a"]),
        ({"instruction": "i", "input": "x", "output": "o"}, "instruction", ["i\n\nx", "o"]),
        ({"instruction": "i", "input": None, "output": "o"}, "instruction", ["i", "o"]),
        ({"prompt": "p", "completion": "c"}, "prompt", ["p", "c"]),
        ({"messages": CHAT}, "chat", ["q", "a"]),
        ({"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, "chat", ["q", "a"]),
    ],
)
def test_kinds_are_told_by_their_keys(row: dict[str, Any], kind: str, words: list[str]) -> None:
    sample = parsed(row)
    assert sample.kind == kind
    assert [message["content"] for message in sample.messages] == words
    assert parsed(row, kind=kind) == sample


@pytest.mark.parametrize(
    ("row", "options", "words"),
    [
        ([1], {}, "expected a JSON object, found a list"),
        ({"title": "x"}, {}, "expected 'text'; 'question' and 'answer'; .*found 'title'"),
        ({}, {}, "found an empty object"),
        ({"text": "t", "question": "q", "answer": "a"}, {}, "can be text or qa: --kind says which"),
        ({"question": "q"}, {"kind": "qa"}, "expected 'answer', found 'question'"),
        ({"question": "q", "answer": 4}, {}, "expected 'answer' to be a string, found a number"),
        ({"instruction": "i", "input": ["x"], "output": "o"}, {}, "expected 'input' to be a string, found a list"),
        ({"text": "a\ud800"}, {}, "'text' holds a lone surrogate"),
        ({"messages": "hello"}, {}, "expected 'messages' to be a JSON list, found other text"),
        ({"messages": [{"role": "user", "content": "q"}]}, {}, "expected an assistant message, found none"),
        ({"messages": [{"role": "tool", "content": "q"}]}, {}, "one of system, user, assistant, found 'tool'"),
    ],
)
def test_rows_that_are_none(row: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(row, **options)


def test_mapped_keys_take_the_place_of_others() -> None:
    row = {"Frage": "q", "Antwort": "a", "answer": "not this", "text": "nor this"}
    mapping = {"question": "Frage", "answer": "Antwort"}
    assert [m["content"] for m in parsed(row, mapping=mapping, kind="qa").messages] == ["q", "a"]
    swapped = parsed({"question": "a", "answer": "q"}, mapping={"question": "answer", "answer": "question"})
    assert [m["content"] for m in swapped.messages] == ["q", "a"]
    # A mapped name that a row lacks leaves its own key.
    assert parsed({"question": "q", "answer": "a"}, mapping=mapping).kind == "qa"


def test_a_system_message_comes_from_the_row_or_from_the_option() -> None:
    row = {"question": "q", "answer": "a"}
    assert parsed(row).system is None
    assert parsed(row, system="S").system == "S"
    assert parsed(row | {"system": "own"}, system="S").system == "own"
    assert parsed(row | {"system": ""}, system="S").system == "S"
    own = {"messages": [{"role": "system", "content": "own"}, *CHAT]}
    assert parsed(own, system="S").system == "own"
    assert parsed({"messages": CHAT}, system="S").system == "S"
    assert parsed({"text": "t"}, system="S").messages == ()


def test_content_tells_rows_apart_by_who_says_what() -> None:
    first = parsed({"question": "ab", "answer": "c"}).content()
    assert first != parsed({"question": "a", "answer": "bc"}).content()
    assert first == parsed({"prompt": "ab", "completion": "c"}).content()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("e\u0301", "é"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\x00b\x1b[0m\x7f\ufeff", "ab[0m"),
        ("tab\tstays", "tab\tstays"),
        ("end  \t\n  indented\u00a0\n\n", "end\n  indented"),
        ("\n \n  first", "  first"),
        ("👩\u200d👧", "👩\u200d👧"),
        (" \n ", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned
    assert clean_text(cleaned) == cleaned


def test_cleaning_keeps_edges_that_meet_another_text() -> None:
    assert clean_text("Q: \nA: ", edges=False) == "Q:\nA: "
    sample = parsed({"prompt": "Q:\x00 ", "completion": " A\n"})
    assert [m["content"] for m in sample.messages] == ["Q: ", " A\n"]


def test_forms() -> None:
    assert clean_text("ﬁe\u0301", "nfkc") == "fié"
    assert clean_text("ﬁe\u0301", "none") == "ﬁe\u0301"
    assert parsed({"text": "e\u0301 \x00"}, clean=False).text == "e\u0301 \x00"


@pytest.mark.parametrize(
    ("options", "has_tokenizer", "words"),
    [
        (
            {"pack": 512, "max_tokens": 5},
            False,
            "--pack, --max-tokens: expected a tokenizer, from --bundle or --tokenizer",
        ),
        ({"tokenize": True}, False, "--tokenize: expected a tokenizer"),
        ({"valid_share": 0.5, "test_share": 0.5}, False, "expected less than 1 together, found 1"),
        ({"min_chars": 9, "max_chars": 5}, False, "--min-chars 9: expected at most --max-chars, which is 5"),
        ({"min_tokens": 9, "max_tokens": 5}, True, "--min-tokens 9: expected at most --max-tokens, which is 5"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], has_tokenizer: bool, words: str) -> None:
    with pytest.raises(PocketLoraError, match=words):
        PrepareOptions(**options).check(has_tokenizer=has_tokenizer)
