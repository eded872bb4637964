"""Truncated and forked sessions with attention windows: the bits of fresh sessions, with and without shared prompts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketlora_export.runtime import Engine, Session
from tests.conftest import BundleFactory
from tests.support.models import TinyModel

Tokens = NDArray[np.int64]
WINDOWED = TinyModel(tied=False, window=9, seed=5)


def answer(engine: Engine, calls: list[Tokens]) -> bytes:
    """The logits of a new session that is given these one after the other."""
    session = Session(engine)
    return [session.prefill(tokens).tobytes() for tokens in calls][-1]


@pytest.mark.parametrize("prefix_cache_bytes", [0, 1 << 24])
def test_truncated_sessions_with_a_window(make_bundle: BundleFactory, prefix_cache_bytes: int) -> None:
    bundle = make_bundle(WINDOWED).bundle
    quiet = Engine(bundle, num_threads=1)
    engine = Engine(bundle, num_threads=1, prefix_cache_bytes=prefix_cache_bytes)
    random = np.random.default_rng(0)
    pieces = [random.integers(3, engine.facts.vocab_size, size) for size in (30, 24, 18)]
    more = random.integers(3, engine.facts.vocab_size, 5)
    tokens = np.concatenate(pieces)
    for _ in range(2):  # the second time prompts are copied, where there is a cache
        session = Session(engine)
        for piece in pieces:
            session.prefill(piece)
        assert session.fork().prefill(more).tobytes() == answer(quiet, [*pieces, more])
        for length in (72, 60, 54, 50, 30, 12, 0):
            fork = session.fork()
            fork.truncate(length)
            ends = [end for end in (30, 54, 72) if end <= length]
            rest = np.concatenate([tokens[max(ends, default=0) : length], more])
            kept = answer(quiet, [*pieces[: len(ends)], rest])
            # Where the window has moved on too far, all rows are computed again, in one go.
            again = answer(quiet, [np.concatenate([tokens[:length], more])])
            assert fork.prefill(more).tobytes() in (kept, again), length
    assert session.info().copied_tokens == (len(tokens) if prefix_cache_bytes else 0)
