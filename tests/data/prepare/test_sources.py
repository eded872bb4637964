"""Reading CSV and JSON arrays: what is accepted, where records stand, and that damage costs no other row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlora_export.data.prepare import csv_source, json_source, source
from pocketlora_export.data.prepare.csv_source import read_csv
from pocketlora_export.data.prepare.json_source import read_json_array
from pocketlora_export.data.prepare.source import Record, SourceFile, Unreadable, find_files, read_json_lines
from pocketlora_export.errors import PocketLoraError, Status

Reader = Callable[[SourceFile], Iterator[Record]]


def read(path: Path, content: str | bytes, reader: Reader) -> list[tuple[int, Any]]:
    """(line, value) of each record; an unreadable one is its message."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with SourceFile(path) as file:
        found = [(record.line, record.value) for record in reader(file)]
    return [(line, value.message if isinstance(value, Unreadable) else value) for line, value in found]


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    content = '\ufeffQuestion , ANSWER\r\n"a ""b"", c","two\r\nlines"\r\n\r\nplain,é\r\n'
    assert read(tmp_path / "a.csv", content, read_csv) == [
        (2, {"question": 'a "b", c', "answer": "two\r\nlines"}),
        (5, {"question": "plain", "answer": "é"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(tmp_path: Path, delimiter: str) -> None:
    content = delimiter.join(("question", "answer")) + "\n" + delimiter.join(("a|b", "c")) + "\n"
    assert read(tmp_path / "a.csv", content, read_csv) == [(2, {"question": "a|b", "answer": "c"})]


def test_a_damaged_csv_row_costs_no_other(tmp_path: Path) -> None:
    content = b'question,answer\n1,"open\n2,ok\n3,x,y\n4,"a"b\n5,"fi\nne"\n6,\xff\n7,ok\n8\n9,"open again\n'
    found = read(tmp_path / "a.csv", content, read_csv)
    good = [(3, "2", "ok"), (6, "5", "fi\nne"), (9, "7", "ok")]
    assert [(line, v["question"], v["answer"]) for line, v in found if isinstance(v, dict)] == good
    assert [(line, v) for line, v in found if isinstance(v, str)] == [
        (2, "not CSV: a quote is opened and not closed"),
        (4, "expected 2 columns (question, answer), found 3"),
        (5, "not CSV: a quote is opened or closed in the middle of a field"),
        (8, "not UTF-8: byte 3 of the row is 0xff"),
        (10, "expected 2 columns (question, answer), found 1"),
        (11, "not CSV: a quote is opened or closed in the middle of a field"),
    ]


def test_an_empty_csv_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "", read_csv) == []
    assert read(tmp_path / "b.csv", "question,answer\n", read_csv) == []


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_json_array_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, block: int
) -> None:
    monkeypatch.setattr(json_source, "_BLOCK", block)
    rows: list[Any] = [{"text": 'é "q" [x] {y}'}, {"messages": [{"role": "user", "content": "a\nb"}]}, 12345, "s", {}]
    found = read(tmp_path / "a.json", json.dumps(rows, indent=indent, ensure_ascii=False), read_json_array)
    assert [value for _, value in found] == rows
    assert [line for line, _ in found] == ([1] * 5 if indent is None else [2, 5, 13, 14, 15])


VALUES = st.recursive(
    st.text(max_size=9) | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(VALUES, max_size=8))
def test_any_json_array(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    found = read(tmp_path_factory.mktemp("a") / "a.json", json.dumps(rows), read_json_array)
    assert [value for _, value in found] == rows


@pytest.mark.parametrize(
    "damaged",
    [
        '{"text": unquoted}',
        "{'text': 1}",
        '{"text": "a" "b"}',
        '{"text": "cut',
        '{"text": "a"',
        "nonsense",
        '{"text": 1,}',
        "}",
    ],
)
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_a_damaged_element_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, block: int
) -> None:
    monkeypatch.setattr(json_source, "_BLOCK", block)
    content = '[\n  {"text": "one"},\n  ' + damaged + ',\n  {"text": "two"},\n  {"text": "three"}\n]\n'
    found = read(tmp_path / "a.json", content, read_json_array)
    assert [value["text"] for _, value in found if isinstance(value, dict)] == ["one", "two", "three"]
    bad = [(line, value) for line, value in found if isinstance(value, str)]
    assert {line for line, _ in bad} == {3}
    assert bad[0][1].startswith("not JSON: ")


def test_elements_of_one_line_that_are_damaged(tmp_path: Path) -> None:
    found = read(tmp_path / "a.json", '[{"text": "one"}, {"text": oops}, bad, {"text": "two"}]', read_json_array)
    assert [value for _, value in found if isinstance(value, dict)] == [{"text": "one"}, {"text": "two"}]
    assert len(found) == 4


@pytest.mark.parametrize("content", ["[", '[{"text": "a"}', '[{"text": "a"},'])
def test_an_array_that_stops_is_named(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "a.json", content, read_json_array)[-1] == (1, "not JSON: the array is not closed")


def test_a_line_longer_than_any_row_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (source, csv_source):
        monkeypatch.setattr(module, "MAX_ROW", 1 << 20)
    long = b"x" * (3 << 20)
    found = read(tmp_path / "a.jsonl", b'{"text": "a"}\n' + long + b'\n{"text": "b"}\n', read_json_lines)
    assert found == [
        (1, b'{"text": "a"}\n'),
        (2, "expected a row of at most 1 MiB, found a longer line"),
        (3, b'{"text": "b"}\n'),
    ]
    found = read(tmp_path / "a.csv", b"text\n" + long + b"\nb\n", read_csv)
    assert [line for line, _ in found] == [2, 3]
    assert found[1][1] == {"text": "b"}


def test_what_was_read_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"abc\nd")
    with SourceFile(path) as file:
        assert file.peek() == b"a"
        assert [line for line, _ in file.lines()] == [1, 2]
        assert file.sha256() == hashlib.sha256(b"abc\nd").hexdigest()
        assert file.size == 5


def test_folders_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.csv", "a/.hidden.csv", ".cache/x.json", "notes.txt", "c.JSON"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [str(p.relative_to(tmp_path)) for p in find_files([tmp_path])] == ["a/z.csv", "b.jsonl", "c.JSON"]
    assert find_files([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]


def test_inputs_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").touch()
    with pytest.raises(PocketLoraError) as caught:
        find_files([tmp_path / "absent", tmp_path / "empty", tmp_path / "a.csv", tmp_path / "a.csv"])
    assert caught.value.status == Status.INPUT_MISSING
    text = str(caught.value)
    assert f"{tmp_path / 'absent'}: expected a file or a folder, found nothing" in text
    assert f"{tmp_path / 'empty'}: expected files named *.jsonl" in text
    assert f"{tmp_path / 'a.csv'}: named more than once" in text
