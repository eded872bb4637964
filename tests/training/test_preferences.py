"""Training on preference pairs: what it learns, and everything that stands beside the steps."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Loss, Optimizer, Schedule, Trainer, TrainerConfig
from tests.support.oracle import Rows, relative_error
from tests.support.preference import random_pairs
from tests.training.conftest import VOCABULARY
from tests.training.test_control import overflowing, same, saved

CONFIG = TrainerConfig(rank=4, learning_rate=2e-3, seed=2, loss=Loss.DPO)
GRADIENT = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
LAYERS = 4


def pairs(seed: int, *lengths: tuple[int, int]) -> Rows:
    return random_pairs(lengths or ((9, 12), (7, 7)), VOCABULARY, seed)


def gradient(trainer: Trainer, hidden: int) -> np.ndarray:
    return trainer.gradient(GRADIENT, (hidden, 4))


def started(engine: Engine, config: TrainerConfig = CONFIG, steps: int = 3) -> Trainer:
    """A trainer whose policy has left its reference."""
    trainer = Trainer(engine, config)
    for seed in range(steps):
        trainer.step([pairs(seed)])
    return trainer


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_margin_grows(smoothing: float, engine: Engine) -> None:
    trainer, batches = Trainer(engine, replace(CONFIG, label_smoothing=smoothing)), [[pairs(s)] for s in range(4)]
    before = trainer.validate([batch for (batch,) in batches])
    margins = [trainer.step(batches[i % 4]).reward_margin for i in range(40)]
    after, progress = trainer.validate([batch for (batch,) in batches]), trainer.progress()
    assert (before.reward_margin, before.num_pairs) == (0, 8)
    assert after.reward_margin > 1
    assert after.reward_accuracy == 1
    assert after.chosen_reward > after.rejected_reward
    assert after.loss < before.loss / 2 if smoothing == 0 else after.loss < before.loss
    assert (margins[0], progress.reward_margin) == (0, margins[-1])
    assert (after.improved, after.best_step) == (True, 40)


def test_the_gradient_is_the_slope_of_the_loss(engine: Engine) -> None:
    """A step of plain descent of size h changes the loss by -h |g|^2 + O(h^2); two sizes cancel the second order."""
    batch = [pairs(9, (14, 11), (8, 13))]
    config = replace(CONFIG, optimizer=Optimizer.SGD, learning_rate=0.5, beta=0.5, label_smoothing=0.1)

    def loss_after(h: float) -> tuple[float, float]:
        with started(engine, config) as trainer:
            trainer.set_learning_rate(h)
            norm = trainer.step(batch).grad_norm
            return trainer.forward_backward(batch).loss, norm

    loss, norm = loss_after(0.0)
    # The loss moves by about 1 %: far above the rounding of float32, with the third order below 1 %.
    h = 0.01 * loss / norm**2
    far, near = (loss - loss_after(h)[0]) / h, (loss - loss_after(h / 2)[0]) / (h / 2)
    assert (2 * near - far) / norm**2 == pytest.approx(1, abs=0.02)


def test_accumulation_is_the_large_batch(engine: Engine) -> None:
    hidden = engine.facts.hidden_size
    parts = [pairs(20, (30, 21)), pairs(21, (9, 14), (12, 12))]
    whole = Rows(
        np.concatenate([p.tokens for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([parts[0].segments, parts[1].segments[1:] + parts[0].segments[-1]]),
    )
    trainer = started(engine)
    large = trainer.forward_backward([whole])
    expected = gradient(trainer, hidden)
    for batches in ([parts[0], parts[1]], [parts[1], parts[0]]):
        found = trainer.forward_backward(batches)
        assert found.loss == pytest.approx(large.loss, rel=98 * LAYERS * 2.0**-24)
        assert (found.num_pairs, found.reward_accuracy) == (3, large.reward_accuracy)
        # The same sums in another order: at most 98 rows of 4 layers.
        assert relative_error(gradient(trainer, hidden), expected) < 98 * LAYERS * 2.0**-23


def test_a_pair_that_no_pass_has_room_for(engine: Engine) -> None:
    """With rows of a pass for one answer only, and for one of them with a part of the next pair: the same gradient."""
    hidden, batch = engine.facts.hidden_size, [pairs(30, (30, 21), (9, 14), (28, 5))]
    whole = started(engine)
    large = whole.forward_backward(batch)
    expected = gradient(whole, hidden)
    small = started(engine, replace(CONFIG, max_rows=32))
    found = small.forward_backward(batch)
    assert (large.passes, found.passes) == (1, 5)
    # Short passes sum in the order of few rows, in each of 4 layers.
    assert found.loss == pytest.approx(large.loss, rel=107 * LAYERS * 2.0**-24)
    assert found.reward_margin == pytest.approx(large.reward_margin, abs=1e-5)
    assert relative_error(gradient(small, hidden), expected) < 107 * LAYERS * 2.0**-22
    # With dropout both halves see the same mask before and in the backward: steps still reach their goal.
    dropped = Trainer(engine, replace(CONFIG, max_rows=32, dropout=0.1))
    for _ in range(30):
        last = dropped.step(batch)
    assert last.reward_margin > 0.5


@pytest.mark.parametrize("optimizer", [Optimizer.ADAMW_8BIT, Optimizer.LION])
def test_goes_on_from_a_checkpoint_bit_for_bit(optimizer: Optimizer, engine: Engine, tmp_path: Path) -> None:
    config = replace(
        CONFIG, optimizer=optimizer, dropout=0.1, schedule=Schedule.COSINE, total_steps=8, warmup_steps=2,
        max_grad_norm=0.5, learning_rate=1e-3, keep_best=True, label_smoothing=0.05,
    )  # fmt: skip
    with started(engine) as other, other.adapter() as start:
        start.save(tmp_path / "start")
    with engine.load_adapter(tmp_path / "start") as start:
        whole, stopped = Trainer(engine, config, start), Trainer(engine, config, start)
        for seed in range(8):
            whole.step([pairs(seed)])
        for seed in range(5):
            stopped.step([pairs(seed)])
        stopped.validate([pairs(99)])
        stopped.save_checkpoint(tmp_path / "checkpoints")
        again = Trainer(engine, config, start)
        assert again.load_checkpoint(tmp_path / "checkpoints").step == 5
        reports = [again.step([pairs(seed)]) for seed in range(5, 8)]
        assert same(saved(whole, tmp_path / "whole"), saved(again, tmp_path / "again"))
        assert whole.progress().reward_margin == reports[-1].reward_margin
    with engine.load_adapter(tmp_path / "whole") as another:
        for changed, init, words in (
            (config, another, 'reference: "adapter '),
            (config, None, "now"),
            (replace(config, beta=0.2), start, "beta: 0.1 in the checkpoint, 0.2 now"),
            (replace(config, label_smoothing=0.0), start, "label_smoothing: 0.05 in the checkpoint, 0.0 now"),
            (replace(config, loss=Loss.CROSS_ENTROPY), start, 'loss: "dpo" in the checkpoint, "cross-entropy" now'),
        ):
            with engine.load_adapter(tmp_path / "start") as reloaded:
                first = reloaded if init is start else init
                with Trainer(engine, changed, first) as other, pytest.raises(PocketLoraError) as caught:
                    other.load_checkpoint(tmp_path / "checkpoints")
            assert caught.value.status == Status.INPUT_MISMATCH
            assert words in str(caught.value)


def test_pausing_and_cancelling(engine: Engine, tmp_path: Path) -> None:
    batch = [pairs(1, (60, 60))]
    plain, held = Trainer(engine, CONFIG), Trainer(engine, CONFIG)
    plain.step(batch)
    held.pause()
    worker = threading.Thread(target=held.step, args=(batch,))
    worker.start()
    while not held.progress().paused:
        time.sleep(0.001)
    # The reference, forward, backward.
    assert held.progress().blocks == 3 * LAYERS
    held.resume()
    worker.join()
    assert same(saved(plain, tmp_path / "plain"), saved(held, tmp_path / "held"))
    held.cancel()
    with pytest.raises(PocketLoraError) as caught:
        held.step(batch)
    assert caught.value.status == Status.CANCELLED
    assert same(saved(plain, tmp_path / "plain2"), saved(held, tmp_path / "held2"))


def test_the_smallest_memory_limit_holds(shipped_bundle: Path, tmp_path: Path) -> None:
    """The plan covers a step with its reference and a validation, the frozen adapter included."""
    with Engine(shipped_bundle, num_threads=1) as free, started(free) as trainer, trainer.adapter() as start:
        start.save(tmp_path / "start")
        one = trainer.plan.adapter

    def train(limit: int) -> None:
        with (
            Engine(shipped_bundle, num_threads=1, memory_limit=limit) as engine,
            engine.load_adapter(tmp_path / "start") as start,
            Trainer(engine, replace(CONFIG, max_rows=24), start) as trainer,
        ):
            assert trainer.plan.adapter >= 2 * one
            batch = [pairs(3, (24, 15))]
            assert trainer.step(batch).passes == 2
            trainer.validate(batch)
            trainer.step(batch)
            assert engine.memory().peak <= trainer.plan.planned <= limit

    with pytest.raises(PocketLoraError, match="training does not fit the memory limit") as caught:
        train(1)
    assert caught.value.status == Status.OUT_OF_MEMORY
    found = re.search(r"A limit of (\d+) bytes would do", str(caught.value))
    assert found is not None
    train(int(found[1]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(CONFIG, beta=0.0, label_smoothing=0.5), ("beta: expected a finite number above 0, found 0",
                                                        "label_smoothing: expected at least 0 and less than 0.5")),
        (replace(CONFIG, beta=float("nan")), ("beta: expected a finite number above 0, found nan",)),
    ],
)  # fmt: skip
def test_options_out_of_range(config: TrainerConfig, words: tuple[str, ...], engine: Engine) -> None:
    with pytest.raises(PocketLoraError) as caught:
        Trainer(engine, config)
    assert caught.value.status == Status.INVALID_ARGUMENT
    assert all(word in str(caught.value) for word in words)


def test_batches_that_are_not_pairs(engine: Engine) -> None:
    good = pairs(1)
    odd = Rows(good.tokens, good.labels, np.delete(good.segments, 1))
    unlabelled = Rows(good.tokens, np.where(np.arange(len(good.tokens)) < good.segments[1], -100, good.labels),
                      good.segments)  # fmt: skip
    trainer = Trainer(engine, CONFIG)
    for batch, words in (
        (odd, "expected pairs, a chosen and a rejected answer each, found 3 segments"),
        (unlabelled, "segment 0: no token behind the first has a label"),
    ):
        for call in (trainer.step, trainer.validate):
            with pytest.raises(PocketLoraError, match=words) as caught:
                call([good, batch])
            assert caught.value.status == Status.INVALID_ARGUMENT
            assert "batch 1" in str(caught.value)
    assert trainer.progress().step == 0


def test_a_step_that_is_not_finite_is_left_out(engine: Engine, tmp_path: Path) -> None:
    with engine.load_adapter(overflowing(engine, tmp_path / "a")) as adapter:
        trainer = Trainer(engine, replace(CONFIG, max_skipped_steps=1), adapter)
    before, batch = saved(trainer, tmp_path / "before"), [pairs(1, (60, 60))]
    assert trainer.step(batch).skipped
    with pytest.raises(PocketLoraError, match=r"step 2: the (loss|gradient) is not finite"):
        trainer.step(batch)
    assert same(before, saved(trainer, tmp_path / "after"))
