"""Reading JSON Lines: what is accepted, and that every complaint names file:line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketlora_export.data.jsonl import read_rows
from pocketlora_export.data.problems import SHOWN, Problems
from pocketlora_export.errors import PocketLoraError, Status

GOOD = b'{"text": "one"}\n'


def problems_of(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    problems = Problems(path)
    read_rows(path, problems)
    return problems.lines


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "one"}\r\n\n   \n{"messages": [{"role": "user", "content": "\xc3\xa9", "name": "x"}]}'
    )
    rows = read_rows(path, Problems(path))
    assert [(row.line, row.text, row.messages) for row in rows] == [
        (1, "one", None),
        (4, None, ({"role": "user", "content": "é"},)),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON: "),
        (b"{'text': 1}", "at column 2"),
        (b'{"text": "a\xff"}', "not UTF-8: byte 12 of the line is 0xff"),
        (b'["text"]', "expected a JSON object, found a list"),
        (b"null", "expected a JSON object, found null"),
        (b"{}", "found an empty object"),
        (b'{"body": "x"}', "exactly one of 'text', 'messages', 'prompt', 'segments', 'token_ids', found 'body'"),
        (b'{"text": "x", "messages": []}', "found 'text', 'messages'"),
        (b'{"prompt": "x"}', "expected 'completion' beside 'prompt', found none"),
        (b'{"prompt": "x", "completion": 1}', "expected 'completion' to be a string, found a number"),
        (b'{"segments": []}', "'segments' to be a list that is not empty, found an empty list"),
        (b'{"segments": [{"text": "x"}]}', "segments[0] to be an object with 'text' and 'label', found an object"),
        (b'{"segments": [{"text": "x", "label": 1}]}', "segments[0].label to be true or false, found a number"),
        (b'{"token_ids": "1 2"}', "expected 'token_ids' to be a list of integers, found str"),
        (b'{"token_ids": [1, 2.5]}', "token_ids[1]: expected an integer, found 2.5"),
        (b'{"token_ids": [1, -2]}', "token_ids[1]: expected 0 or more, found -2"),
        (b'{"token_ids": [1, 2], "labels": [1]}', "expected as many labels as token_ids (2), found 1"),
        (b'{"token_ids": [1, 2], "labels": [-100, 3]}', "labels[1]: expected the token (2) or -100, found 3"),
        (b'{"token_ids": [1, 2], "lengths": [1, 1]}', "lengths[0]: expected at least 2 tokens, found 1"),
        (b'{"token_ids": [1, 2], "lengths": [2, 2]}', "'lengths' to add up to the 2 token_ids, found 4"),
        (b'{"token_ids": [1, 2], "text_": ""}', "expected only 'token_ids', 'labels', 'lengths'"),
        (b'{"text": 5}', "expected 'text' to be a string, found a number"),
        (b'{"text": "\\ud800"}', "'text' holds a lone surrogate at character 1"),
        (b'{"messages": []}', "'messages' to be a list that is not empty, found an empty list"),
        (b'{"messages": "hi"}', "found a string"),
        (b'{"messages": [{"role": "user"}]}', "messages[0] to be an object with 'role' and 'content', found an object"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', "one of system, user, assistant, found 'tool'"),
        (b'{"messages": [{"role": "user", "content": null}]}', "messages[0].content to be a string, found null"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_each_malformed_row_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "data.jsonl"
    (problem,) = problems_of(path, GOOD + line + b"\n" + GOOD)
    assert problem.startswith(f"{path}:2: ")
    assert words in problem


def test_all_problems_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"?\n" * (SHOWN + 3))
    problems = Problems(path)
    read_rows(path, problems)
    with pytest.raises(PocketLoraError) as caught:
        problems.raise_if_any()
    text = str(caught.value)
    assert caught.value.status == Status.INPUT_MALFORMED
    assert f"{SHOWN + 3} rows cannot be used" in text
    assert f"{path}:{SHOWN}: " in text
    assert f"{path}:{SHOWN + 1}: " not in text
    assert text.endswith("... and 3 more")


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_a_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(PocketLoraError, match="no rows") as caught:
        read_rows(path, Problems(path))
    assert caught.value.status == Status.INPUT_MALFORMED


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "absent.jsonl", "nothing"), (tmp_path, "a folder")):
        with pytest.raises(PocketLoraError, match=f"expected a JSONL file, found {found}") as caught:
            read_rows(path, Problems(path))
        assert caught.value.status == Status.INPUT_MISSING
