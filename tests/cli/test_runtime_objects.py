"""The Python face of the runtime: lifetimes, callbacks, arrays, errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Sampling, Session, Trainer, TrainerConfig
from tests.support.bundles import Bundled
from tests.support.tolerance import forward_bound

PROMPT = [1, 40, 41, 42]


@dataclass(frozen=True)
class Rows:
    """A packed batch by hand."""

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    segments: NDArray[np.int64]


def one_row(n: int = 12) -> Rows:
    tokens = np.arange(3, 3 + n, dtype=np.int64)
    return Rows(tokens, tokens.copy(), np.array([0, n]))


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundled) -> Iterator[Engine]:
    with Engine(tiny_bundle.bundle, num_threads=1) as opened:
        yield opened


def test_facts_are_those_of_the_model(engine: Engine, tiny_bundle: Bundled) -> None:
    facts, tiny = engine.facts, tiny_bundle.tiny
    assert (facts.vocab_size, facts.hidden_size, facts.num_layers) == (tiny.vocab, tiny.hidden, tiny.layers)
    assert (facts.max_seq_len, facts.train_t_max, facts.max_rank) == (tiny.max_len, tiny.train_len, tiny.max_rank)
    assert facts.bos_token_id == 1
    assert facts.manifest["base"]["file"] == "base.ptd"


def test_a_closed_handle_says_so(engine: Engine) -> None:
    session = Session(engine)
    session.close()
    session.close()
    with pytest.raises(PocketLoraError, match="this Session is closed") as caught:
        session.prefill(PROMPT)
    assert caught.value.status == Status.INVALID_STATE


def test_handles_outlive_their_engine(tiny_bundle: Bundled) -> None:
    opened = Engine(tiny_bundle.bundle, num_threads=1)
    session = Session(opened)
    expected = session.prefill(PROMPT)
    opened.close()
    session.reset()
    np.testing.assert_array_equal(session.prefill(PROMPT), expected)


def test_greedy_generation_is_the_largest_logit(engine: Engine) -> None:
    with Session(engine) as session:
        generation = session.generate(PROMPT, Sampling(max_new_tokens=6, stop_tokens=[]))
    with Session(engine) as session:
        expected = [int(session.prefill(PROMPT).argmax())]
        while len(expected) < 6:
            expected.append(int(session.decode(expected[-1]).argmax()))
    assert generation.tokens == expected
    assert (generation.prompt_tokens, generation.stop_reason) == (len(PROMPT), "length")


def test_a_stop_token_stops(engine: Engine) -> None:
    with Session(engine) as session:
        free = session.generate(PROMPT, Sampling(max_new_tokens=6, stop_tokens=[])).tokens
        session.reset()
        stop = free[2]
        stopped = session.generate(PROMPT, Sampling(max_new_tokens=6, stop_tokens=[stop]))
    assert stopped.tokens == free[: free.index(stop) + 1]
    assert stopped.stop_reason == "stop_token"


def test_a_callback_can_stop_and_the_session_goes_on(engine: Engine) -> None:
    seen: list[int] = []

    def two(token: int) -> bool:
        seen.append(token)
        return len(seen) < 2

    sampling = Sampling(max_new_tokens=6, stop_tokens=[])
    with Session(engine) as session:
        whole = session.generate(PROMPT, sampling).tokens
        session.reset()
        generation = session.generate(PROMPT, sampling, two)
        assert (generation.tokens, generation.stop_reason) == (whole[:2], "callback")
        assert seen == whole[:2]
        with pytest.raises(KeyboardInterrupt, match="now"):
            session.generate([5], sampling, raise_interrupt)
        session.reset()
        assert session.generate(PROMPT, sampling).tokens == whole


def raise_interrupt(_token: int) -> None:
    raise KeyboardInterrupt("now")


def test_adapters_can_be_swapped_within_a_callback(engine: Engine, tiny_bundle: Bundled, trained: Path) -> None:
    sampling = Sampling(max_new_tokens=4, stop_tokens=[])
    with engine.load_adapter(trained) as adapter:
        with Session(engine) as session:
            base = session.generate(PROMPT, sampling).tokens
            session.reset()
            tokens = session.generate(PROMPT, sampling, lambda _token: session.set_adapters([(adapter, 2.0)])).tokens
            last = session.decode(50)
        with Session(engine) as fresh:
            fresh.set_adapters([(adapter, 2.0)])
            expected = fresh.prefill([*PROMPT, *tokens, 50])
            fresh.reset()
            fresh.set_adapters()
            other = fresh.prefill([*PROMPT, *tokens, 50])
    assert tokens[0] == base[0]
    # The two sessions may split their rows into different calls: float32 sums in another order.
    bound = forward_bound(tiny_bundle.tiny) * np.linalg.norm(expected)
    assert np.linalg.norm(last - expected) <= bound
    assert np.linalg.norm(last - other) > 10 * bound


def test_gradients_are_read_by_name(engine: Engine, tiny_bundle: Bundled) -> None:
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    shape = (tiny_bundle.tiny.heads * tiny_bundle.tiny.head_dim, 3)
    with Trainer(engine, TrainerConfig(rank=3)) as trainer:
        step = trainer.forward_backward([one_row()])
        assert 0 < np.linalg.norm(trainer.gradient(name, shape)) <= step.grad_norm * (1 + 1e-5)
        with pytest.raises(PocketLoraError, match="nonsense"):
            trainer.gradient("nonsense", shape)
        with pytest.raises(PocketLoraError):
            trainer.gradient(name, (shape[0], 2))


@pytest.mark.parametrize(
    "rows",
    [
        Rows(np.array([1, 2]), np.array([1]), np.array([0, 2])),
        Rows(np.array([1, 2]), np.array([1, 2]), np.array([0, 3])),
        Rows(np.array([1, 999]), np.array([1, 2]), np.array([0, 2])),
        one_row(100),
    ],
)
def test_impossible_batches_are_refused(engine: Engine, rows: Rows) -> None:
    with pytest.raises(PocketLoraError) as caught:
        engine.evaluate(rows)
    assert caught.value.status in (Status.INVALID_ARGUMENT, Status.SEQUENCE_TOO_LONG)


def test_an_impossible_trainer_is_refused(engine: Engine) -> None:
    with pytest.raises(PocketLoraError) as caught:
        Trainer(engine, TrainerConfig(rank=9))
    assert caught.value.status == Status.RANK_TOO_LARGE
    with pytest.raises(PocketLoraError, match="nonsense") as caught:
        Trainer(engine, TrainerConfig(target_modules=("nonsense",)))
    assert caught.value.status == Status.UNKNOWN_TARGET_MODULE


def test_memory_is_accounted_for(engine: Engine) -> None:
    with Trainer(engine, TrainerConfig(rank=2)) as trainer:
        trainer.step([one_row()])
        memory = engine.memory()
        assert memory.rss_anon > 0
        assert memory.gradients > 0
        assert memory.base_private_dirty == 0
        parts = ("arena", "block_inputs", "adapter", "gradients", "optimizer", "kv_cache", "scratch", "other")
        assert memory.unexplained == memory.rss_anon - sum(getattr(memory, part) for part in parts)


def test_the_version_of_the_library_is_the_package_s() -> None:
    import pocketlora_export
    from pocketlora_export.runtime.library import library

    assert library().pl_version().decode() == pocketlora_export.__version__
