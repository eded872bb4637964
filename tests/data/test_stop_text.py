"""Stop strings: nothing of them is shown, and nothing else is lost, however the text is cut into pieces."""

from __future__ import annotations

import random

import pytest

from pocketlora_export.data.stop_text import StopText


def shown(stops: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    stop = StopText(stops)
    parts: list[str] = []
    for piece in pieces:
        parts.append(stop.push(piece))
        if stop.found is not None:
            break
    parts.append(stop.flush())
    return parts, stop.found


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "found"),
    [
        (["\n\n"], ["one\n", "two\n", "\nthree"], "one\ntwo", "\n\n"),
        (["END"], ["E", "N", "X", "EN"], "ENXEN", None),
        (["###"], ["a##", "b###c"], "a##b", "###"),
        (["User:", "Use"], ["Us", "er:"], "", "Use"),
        (["abcd", "bc"], ["xab", "c", "e"], "xa", "bc"),
        (["abcd", "bc"], ["xab", "c", "d"], "x", "abcd"),
        (["é", "日本"], ["日", "本"], "", "日本"),
    ],
)
def test_cases(stops: list[str], pieces: list[str], text: str, found: str | None) -> None:
    parts, stop = shown(stops, pieces)
    assert "".join(parts) == text
    assert stop == found


def test_random_texts_end_where_the_first_stop_string_begins() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        stops = ["".join(rng.choices("ab", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
        text = "".join(rng.choices("abc", k=rng.randint(0, 20)))
        pieces, rest = [], text
        while rest:
            size = rng.randint(1, 4)
            pieces.append(rest[:size])
            rest = rest[size:]
        expected = min((text.find(stop) for stop in stops if stop in text), default=len(text))
        parts, found = shown(stops, pieces)
        assert "".join(parts) == text[:expected], (stops, pieces)
        assert (found is not None) == (expected < len(text)), (stops, pieces)
