"""What the tests of training share: the shipped model's bundle, an engine over it, rows of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pocketlora_export.runtime import Engine
from pocketlora_export.runtime.library import find_library
from tests.support.oracle import Rows, random_rows

VOCABULARY = 3072


@pytest.fixture(scope="module")
def engine(shipped_bundle: Path) -> Iterator[Engine]:
    with Engine(shipped_bundle, num_threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def batches() -> list[list[Rows]]:
    """Micro-batches of four steps, to be cycled."""
    return [[random_rows((9, 7), VOCABULARY, seed)] for seed in range(4)]


@pytest.fixture(scope="session")
def program() -> Path:
    """`pocketlora_run` of the build whose library is tested."""
    return find_library().parent / "tools" / "pocketlora_run"
