"""Swapping trained adapters on one live session: bit-identical to fresh sessions, for base -> A -> B -> base."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pocketlora_export.runtime import Trainer, TrainerConfig
from pocketlora_export.runtime.engine import Adapter, Engine
from pocketlora_export.runtime.session import Sampling, Session
from tests.support.oracle import Rows

EXAMPLES = ("notes", "captains-log")
NEW_TOKENS = 24
Tokens = list[int]


@pytest.fixture(scope="module")
def engine(shipped_bundle: Path) -> Engine:
    return Engine(shipped_bundle, num_threads=1)


@pytest.fixture(scope="module")
def encode(shipped_bundle: Path) -> Callable[[str], Tokens]:
    tokenizer = Tokenizer.from_file(str(shipped_bundle / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text).ids)


@pytest.fixture(scope="module")
def adapters(engine: Engine, encode: Callable[[str], Tokens], repository: Path) -> dict[str, Adapter]:
    """One adapter for each example, trained for a few steps: enough to change what the model writes."""
    return {name: _trained(engine, encode, repository / "examples" / name / "train.jsonl") for name in EXAMPLES}


def _trained(engine: Engine, encode: Callable[[str], Tokens], data: Path) -> Adapter:
    texts = [json.loads(line)["text"] for line in data.read_text().splitlines()[:16]]
    rows = [np.array(encode(text)[: engine.facts.train_t_max], dtype=np.int64) for text in texts]
    trainer = Trainer(engine, TrainerConfig(rank=8, alpha=16, learning_rate=5e-3, seed=1))
    for step in range(12):
        pair = [rows[(2 * step + i) % len(rows)] for i in range(2)]
        trainer.step([Rows(row, row, np.array([0, len(row)])) for row in pair])
    return trainer.adapter()


def chosen(adapters: dict[str, Adapter], name: str | None) -> list[Adapter]:
    """The adapter set that a name stands for; None = the bare base."""
    return [] if name is None else [adapters[name]]


def fresh(engine: Engine, active: list[Adapter], history: Tokens) -> tuple[Tokens, NDArray[np.float32]]:
    """A new session with this set, given the tokens in one prefill: what it writes, and its logits."""
    session = Session(engine)
    session.set_adapters(active)
    logits = session.prefill(np.array(history))
    other = Session(engine)
    other.set_adapters(active)
    return other.generate(np.array(history), Sampling(NEW_TOKENS, stop_tokens=())).tokens, logits


def test_live_swap_equals_fresh_sessions(
    engine: Engine, adapters: dict[str, Adapter], encode: Callable[[str], Tokens]
) -> None:
    """After each swap the session forgets its tokens and answers the same prompt again."""
    prompt = encode("This morning")
    live = Session(engine)
    written: list[Tokens] = []
    for name in (None, *EXAMPLES, None):
        active = chosen(adapters, name)
        live.set_adapters(active)
        live.reset()
        logits = live.prefill(np.array(prompt))
        live.reset()
        written.append(live.generate(np.array(prompt), Sampling(NEW_TOKENS, stop_tokens=())).tokens)
        tokens, expected = fresh(engine, active, prompt)
        assert written[-1] == tokens
        assert logits.tobytes() == expected.tobytes()
    base, first, second, last = written
    assert base == last
    assert len({tuple(base), tuple(first), tuple(second)}) == 3


def test_swap_in_the_middle_keeps_the_tokens(
    engine: Engine, adapters: dict[str, Adapter], encode: Callable[[str], Tokens]
) -> None:
    """A swap at a token boundary goes on as a fresh session that was given all tokens in one prefill."""
    history = encode("This morning")
    live = Session(engine)
    logits = live.prefill(np.array(history))
    for name in (None, *EXAMPLES, None):
        active = chosen(adapters, name)
        live.set_adapters(active)
        history.append(int(np.argmax(logits)))
        logits = live.decode(history[-1])
        _, expected = fresh(engine, active, history)
        assert logits.tobytes() == expected.tobytes()
    assert len(live) == len(history)


def test_swap_from_within_generation(
    engine: Engine, adapters: dict[str, Adapter], encode: Callable[[str], Tokens]
) -> None:
    """A callback swaps after the fifth token: what follows is what a fresh session with the new set writes."""
    prompt = encode("This morning")
    live = Session(engine)
    seen: Tokens = []

    def swap(token: int) -> None:
        seen.append(token)
        if len(seen) == 5:
            live.set_adapters([adapters["notes"]])

    tokens = live.generate(np.array(prompt), Sampling(NEW_TOKENS, stop_tokens=()), swap).tokens
    rest = Session(engine)
    rest.set_adapters([adapters["notes"]])
    expected = rest.generate(np.array(prompt + tokens[:5]), Sampling(NEW_TOKENS - 5, stop_tokens=())).tokens
    assert tokens[5:] == expected
    bare = Session(engine).generate(np.array(prompt), Sampling(NEW_TOKENS, stop_tokens=())).tokens
    assert tokens[:5] == bare[:5]
    assert tokens != bare


def test_swap_time_is_reported(
    engine: Engine, adapters: dict[str, Adapter], record_property: Callable[[str, object], None]
) -> None:
    """The time of a swap, for the record; nothing is asserted about it."""
    session = Session(engine)
    times = []
    for i in range(50):
        start = time.perf_counter()
        session.set_adapters([adapters[EXAMPLES[i % 2]]])
        times.append(time.perf_counter() - start)
    median = float(np.median(times))
    record_property("swap_seconds_median", median)
    print(f"swap: {median * 1e6:.1f} us (median of {len(times)})")
