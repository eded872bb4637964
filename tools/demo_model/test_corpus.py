"""The cleaning rules of the demo corpus, on a few invented lines."""

from __future__ import annotations

import struct
import zlib

import pytest

from tools.demo_model.corpus import Chapter, clean_line, dialogues, hold_out, read_character_vectors, split_chapters


def r_record(strings: list[str]) -> bytes:
    body = b"X\n" + struct.pack(">iii", 2, 0, 0) + struct.pack(">Ii", 16, len(strings))
    for string in strings:
        data = string.encode()
        body += struct.pack(">Ii", 0x00040009, len(data)) + data
    return struct.pack(">I", len(body)) + zlib.compress(body)


def test_character_vectors_follow_each_other() -> None:
    vectors = [["CHAPTER I", "", "It was late."], ["£5, caf\u00e9"]]
    assert list(read_character_vectors(b"".join(map(r_record, vectors)))) == vectors


def test_a_record_of_the_wrong_size_is_refused() -> None:
    record = r_record(["one"])
    with pytest.raises(ValueError, match="its header says"):
        list(read_character_vectors(struct.pack(">I", 1) + record[4:]))


def test_clean_line_keeps_plain_punctuation() -> None:
    assert clean_line(" \u201cI _am_  sure,\u201d--said he---\u2018so\u2019 ") == "\"I am sure,\"--said he--'so'"


def test_chapters_drop_front_matter_headings_and_footnotes() -> None:
    line = "word " * 30
    novel = ["A TITLE", "", "Chapter I", "", *[line] * 8, "", "Second.", "", "*A footnote.", "", "FINIS", "", "A note."]
    (chapter,) = split_chapters(novel)
    assert len(chapter.paragraphs) == 2
    assert chapter.paragraphs[1] == "Second."
    assert "\n" not in chapter.paragraphs[0]


def test_every_twentieth_chapter_is_held_out() -> None:
    chapters = [Chapter((str(i),)) for i in range(45)]
    training, held_out = hold_out(chapters)
    assert [c.text for c in held_out] == ["19", "39"]
    assert len(training) == 43


def test_dialogues_are_runs_of_short_speeches() -> None:
    chapter = Chapter(("He came.", '"Yes."', '"No."', "They left.", '"Alone."', "x", '"' + "a" * 500, '"b"'))
    assert dialogues(chapter) == [('"Yes."', '"No."')]
