"""The order of rows: goldens shared with the C++ tool through docs/text-rows.md."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pocketlora_export.data.shuffle import permutation, row_order, splitmix64


def test_splitmix64_is_the_published_one() -> None:
    # The first outputs for seed 1234567, as published with the reference implementation.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    state, found = 1234567, []
    for _ in expected:
        state, value = splitmix64(state)
        found.append(value)
    assert found == expected


def test_goldens_of_the_document(repository: Path) -> None:
    text = (repository / "docs" / "text-rows.md").read_text()
    goldens = [[int(n) for n in found.split()] for found in re.findall(r"is `([0-9 ]+)`", text)]
    seeds = [(8, 42, 0), (8, 42, 1), (5, 2**64 - 1, 0), (5, 2**64 - 1, 1)]
    assert goldens == [permutation(*arguments) for arguments in seeds]


@given(n=st.integers(0, 60), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000))
def test_every_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(n, seed, epoch)) == list(range(n))


def test_epochs_follow_without_a_gap() -> None:
    taken = list(itertools.islice(row_order(5, 9), 12))
    assert taken == [*permutation(5, 9, 0), *permutation(5, 9, 1), *permutation(5, 9, 2)[:2]]
