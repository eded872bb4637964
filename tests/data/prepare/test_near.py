"""Near-duplicates: the hashed similarity is the real one, and nothing above the threshold is missed or made up."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from pocketlora_export.data.prepare import near
from pocketlora_export.data.prepare.near import NearDuplicates, prints_of
from pocketlora_export.data.prepare.shingles import HASHES, Shingler, band_count, signatures

SHINGLER = Shingler()
GREEK = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def words(text: str) -> list[str]:
    """The words of plain lower-case text, the slow way."""
    return text.split()


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of runs of three words, from strings."""
    first, second = ({tuple(w[i : i + 3]) for i in range(max(1, len(w) - 2))} for w in (words(a), words(b)))
    return len(first & second) / len(first | second)


def hashed(text: str) -> set[int]:
    return set(SHINGLER([text]).hashes.tolist())


def text_of(source: random.Random, length: int) -> str:
    return " ".join(source.choice(GREEK) for _ in range(length))


def changed(source: random.Random, text: str, count: int) -> str:
    found = words(text)
    for place in source.sample(range(len(found)), count):
        found[place] = f"new{source.random()}".replace(".", "x")
    return " ".join(found)


def test_hashed_shingles_have_the_similarity_of_the_words() -> None:
    source = random.Random(1)
    for _ in range(40):
        a = text_of(source, source.randint(1, 60))
        b = changed(source, a, min(len(words(a)), source.randint(0, 6)))
        first, second = hashed(a), hashed(b)
        assert len(first & second) / len(first | second) == similarity(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Hello, World! How are you?", "hello world how\nare -- you"),
        ("ÄRGER über Öl", "ärger ÜBER öl"),
        ("二人の子供", "二 人 の 子 供"),
    ],
)
def test_case_and_punctuation_make_no_difference(a: str, b: str) -> None:
    assert hashed(a) == hashed(b)


@pytest.mark.parametrize(
    ("a", "b"), [("one two", "one three"), ("二人の子供", "二人の大人"), ("!!!", "???"), ("", "!"), ("a b c", "c b a")]
)
def test_different_texts_have_different_shingles(a: str, b: str) -> None:
    assert hashed(a) != hashed(b)
    assert len(hashed(a)) >= 1


def test_rows_of_a_chunk_do_not_touch() -> None:
    texts = ["one two three four", "", "five", "six seven eight", "one two three four"]
    together = SHINGLER(texts)
    apart = [SHINGLER([text]) for text in texts]
    assert together.lengths.tolist() == [len(found.hashes) for found in apart] == [2, 1, 1, 1, 2]
    assert together.hashes.tolist() == [value for found in apart for value in found.hashes.tolist()]


def test_long_texts_are_hashed_like_short_ones() -> None:
    # Longer than the table of powers that a shingler begins with.
    filler = "x" * 70_000
    tail = hashed("alpha beta gamma")
    assert tail <= hashed(f"{filler} alpha beta gamma")


def test_signatures_agree_as_often_as_the_texts_are_similar() -> None:
    source = random.Random(2)
    a = " ".join(f"w{i}" for i in range(400))
    for count in (10, 40, 80):
        b = changed(source, a, count)
        first, second = signatures(SHINGLER([a, b]))
        # Four sigma of a mean of HASHES independent draws.
        expected = similarity(a, b)
        assert abs((first == second).mean() - expected) <= 4 * (expected * (1 - expected) / HASHES) ** 0.5


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    bands = band_count(threshold)
    assert HASHES % bands == 0
    assert 1 - (1 - threshold ** (HASHES // bands)) ** bands >= 0.99


def found_by(texts: list[str], folder: Path, threshold: float, eligible: list[bool] | None = None) -> list[int]:
    index = NearDuplicates(folder / "near", threshold)
    for start in range(0, len(texts), 7):
        part = texts[start : start + 7]
        index.add(prints_of(SHINGLER(part), np.ones(len(part), dtype=bool), threshold))
    wanted = np.ones(len(texts), dtype=bool) if eligible is None else np.array(eligible)
    found: list[int] = index.find(wanted, lambda _: None).tolist()
    return found


def test_what_is_found_is_what_comparing_all_pairs_finds(tmp_path: Path) -> None:
    source, threshold = random.Random(3), 0.8
    texts: list[str] = []
    for _ in range(60):
        texts.append(" ".join(f"{source.randint(0, 500)}" for _ in range(source.randint(5, 80))))
        for _ in range(source.randint(0, 3)):
            base = source.choice(texts)
            texts.append(changed(source, base, min(len(words(base)), source.randint(0, 4))))
    leaders: list[int] = []
    for row, text in enumerate(texts):
        before = [other for other in range(row) if leaders[other] == other]
        leaders.append(next((other for other in before if similarity(text, texts[other]) >= threshold), row))
    repeats = sum(leader != row for row, leader in enumerate(leaders))
    assert repeats > 20
    found = found_by(texts, tmp_path, threshold)
    # A row may be similar to several; each is as good. One miss in a hundred is what the bands allow.
    wrong = [row for row in range(len(texts)) if (found[row] == row) != (leaders[row] == row)]
    assert len(wrong) <= max(1, repeats // 50)
    assert all(similarity(texts[row], texts[found[row]]) >= threshold for row in range(len(texts)))


def test_rows_that_are_out_take_no_part(tmp_path: Path) -> None:
    text = "one two three four five six"
    assert found_by([text, text, text], tmp_path, 0.8, [False, True, True]) == [0, 1, 1]


def test_rows_without_shingles_take_no_part(tmp_path: Path) -> None:
    index = NearDuplicates(tmp_path / "near", 0.8)
    live = np.array([True, False, True, False])
    index.add(prints_of(SHINGLER(["one two three four", "one two three four"]), live, 0.8))
    assert index.find(live, lambda _: None).tolist() == [0, 1, 0, 3]


def test_a_chain_of_changes_does_not_swallow_its_end(tmp_path: Path) -> None:
    # Each differs from the one before in one word; only those near enough to the first are its repetitions.
    base = [f"w{i}" for i in range(60)]
    texts = [" ".join(["x"] * 4 * n + base[4 * n :]) for n in range(6)]
    found = found_by(texts, tmp_path, 0.8)
    assert found[1] == 0
    assert all(similarity(texts[row], texts[found[row]]) >= 0.8 for row in range(6))
    assert found[5] != 0


def test_many_rows_in_one_bucket_stay_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_CANDIDATES", 4)
    shared = " ".join(f"w{i}" for i in range(30))
    texts = [f"{shared} " + " ".join(f"r{row}x{i}" for i in range(20)) for row in range(40)]
    # Similarity 0.4: they meet in bands, but none repeats another.
    assert found_by(texts, tmp_path, 0.8) == list(range(40))


def test_no_row_that_takes_part(tmp_path: Path) -> None:
    assert found_by(["one two three"] * 3, tmp_path, 0.8, [False] * 3) == [0, 1, 2]


def test_no_rows(tmp_path: Path) -> None:
    assert NearDuplicates(tmp_path / "near", 0.8).find(np.empty(0, dtype=bool), lambda _: None).tolist() == []
