"""What stands beside the steps: pausing, progress, steps left out, validation, the best adapter, early stopping."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Optimizer, Trainer, TrainerConfig
from tests.cli.conftest import call
from tests.support.oracle import Rows, random_rows
from tests.training.conftest import VOCABULARY

CONFIG = TrainerConfig(rank=4, learning_rate=1e-3, seed=2)
LAYERS = 4


def saved(trainer: Trainer, folder: Path) -> dict[str, np.ndarray]:
    with trainer.adapter() as adapter:
        adapter.save(folder)
    tensors: dict[str, np.ndarray] = load_file(folder / "adapter_model.safetensors")
    return tensors


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_pause_holds_a_step_at_its_next_block(engine: Engine, tmp_path: Path) -> None:
    batch = [random_rows((96, 96), VOCABULARY, 1)]
    plain, paused = Trainer(engine, CONFIG), Trainer(engine, CONFIG)
    plain.step(batch)
    whole = plain.step(batch)
    paused.step(batch)
    before = saved(paused, tmp_path / "before")
    worker = threading.Thread(target=paused.step, args=(batch,))
    worker.start()
    while paused.progress().blocks_done < 2:
        time.sleep(0.0005)
    asked, blocks = time.monotonic(), paused.progress().blocks_done
    paused.pause()
    while not paused.progress().paused:
        time.sleep(0.0005)
    latency, held = time.monotonic() - asked, paused.progress()
    print(f"held after {latency * 1e3:.1f} ms; a block takes {whole.seconds / (2 * LAYERS) * 1e3:.1f} ms")
    assert held.blocks_done - blocks <= 1
    assert (held.blocks, held.step) == (2 * LAYERS, 1)
    time.sleep(0.05)
    assert paused.progress() == held
    # A checkpoint of the last whole step, while the next one waits.
    path = paused.save_checkpoint(tmp_path / "checkpoints").path
    assert same(load_file(path / "adapter_model.safetensors"), before)
    paused.resume()
    worker.join()
    assert paused.progress().step == 2
    assert same(saved(plain, tmp_path / "plain"), saved(paused, tmp_path / "paused"))
    resumed = Trainer(engine, CONFIG)
    assert resumed.load_checkpoint(tmp_path / "checkpoints").step == 1
    resumed.step(batch)
    assert same(saved(plain, tmp_path / "plain2"), saved(resumed, tmp_path / "resumed"))


def test_a_paused_step_can_be_cancelled(engine: Engine) -> None:
    trainer = Trainer(engine, CONFIG)
    trainer.pause()
    caught: list[Status] = []

    def step() -> None:
        try:
            trainer.step([random_rows((16,), VOCABULARY, 1)])
        except PocketLoraError as error:
            caught.append(error.status)

    worker = threading.Thread(target=step)
    worker.start()
    while not trainer.progress().paused:
        time.sleep(0.001)
    trainer.cancel()
    worker.join()
    assert caught == [Status.CANCELLED]
    trainer.resume()
    trainer.step([random_rows((16,), VOCABULARY, 1)])


def test_progress(engine: Engine, batches: list[list[Rows]]) -> None:
    trainer = Trainer(engine, TrainerConfig(rank=4, total_steps=5))
    assert trainer.progress().seconds_left == -1
    reports = [trainer.step(batches[0]) for _ in range(2)]
    found = trainer.progress()
    assert (found.step, found.total_steps, found.blocks) == (2, 5, 0)
    assert found.tokens == sum(report.num_tokens for report in reports)
    assert (found.loss, found.grad_norm) == (reports[-1].loss, reports[-1].grad_norm)
    seconds = sum(report.seconds for report in reports)
    assert found.tokens_per_second == pytest.approx(found.tokens / seconds)
    assert found.seconds_left == pytest.approx(seconds / 2 * 3)


def overflowing(engine: Engine, folder: Path) -> Path:
    """An adapter that is without effect on most tokens; where one column of a hidden state is large, it overflows."""
    trainer = Trainer(engine, CONFIG)
    tensors = {name: np.zeros_like(value) for name, value in saved(trainer, folder).items()}
    first = next(name for name in tensors if "layers.0.self_attn.q_proj.lora_A" in name)
    tensors[first][0, 0] = 3e38
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def test_steps_that_are_not_finite_are_left_out(engine: Engine, tmp_path: Path) -> None:
    with engine.load_adapter(overflowing(engine, tmp_path / "a")) as adapter:
        good, bad, probe = [], [], Trainer(engine, CONFIG, adapter)
        for seed in range(40):
            batch = [random_rows((2,), VOCABULARY, seed)]
            try:
                probe.forward_backward(batch)
                good.append(batch)
            except PocketLoraError:
                bad.append(batch)
        assert good
        assert bad
        config = TrainerConfig(optimizer=Optimizer.LION, learning_rate=1e-30, max_skipped_steps=2)
        trainer = Trainer(engine, config, adapter)
    before = saved(trainer, tmp_path / "before")
    report = trainer.step(bad[0])
    assert (report.skipped, report.skipped_steps, report.step) == (True, 1, 1)
    assert same(before, saved(trainer, tmp_path / "after"))
    assert not trainer.step(good[0]).skipped
    assert [trainer.step(bad[0]).skipped for _ in range(2)] == [True, True]
    with pytest.raises(PocketLoraError, match=r"step 5: the (loss|gradient) is not finite") as caught:
        trainer.step(bad[0])
    assert caught.value.status == Status.BACKEND_EXECUTION
    assert trainer.progress().skipped_steps == 3


def test_validation_keeps_the_best_adapter(engine: Engine, batches: list[list[Rows]], tmp_path: Path) -> None:
    # Too fast: after a while the held-out loss rises.
    config = TrainerConfig(rank=4, learning_rate=0.02, keep_best=True, patience=3)
    trainer, held_out = Trainer(engine, config), [random_rows((30, 20), VOCABULARY, 99)]
    with pytest.raises(PocketLoraError) as caught:
        trainer.best_adapter()
    assert caught.value.status == Status.INVALID_STATE
    found = [trainer.validate(held_out)]
    kept = saved(trainer, tmp_path / "kept")
    while not found[-1].should_stop and len(found) < 60:
        trainer.step(batches[len(found) % len(batches)])
        found.append(trainer.validate(held_out))
        if found[-1].improved:
            kept = saved(trainer, tmp_path / "kept")
    assert found[-1].should_stop
    assert found[-1].best_loss == min(v.loss for v in found)
    assert [v.improved for v in found[-3:]] == [False] * 3
    assert found[-1].best_step == found[-1].step - 3
    trainer.save_checkpoint(tmp_path / "checkpoints")
    again = Trainer(engine, config)
    assert again.load_checkpoint(tmp_path / "checkpoints").should_stop
    for one in (trainer, again):
        with one.best_adapter() as best:
            best.save(tmp_path / "best")
        assert same(load_file(tmp_path / "best" / "adapter_model.safetensors"), kept)


def test_the_command_stops_early_and_saves_the_best(shipped_bundle: Path, tmp_path: Path) -> None:
    def write(name: str, texts: list[str]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return path

    train = write("train.jsonl", [f"the {a} sat on the mat" for a in ("cat", "dog", "hen")])
    valid = write("valid.jsonl", ["a quick note about rain in the mountains"])
    options = ["--data", train, "--valid", valid, "--eval-every", 1, "--patience", 2, "--learning-rate", 0.05]
    done = call("train", shipped_bundle, *options, "--rank", 4, "--epochs", 40, "--output", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    losses = {e["step"]: e["loss"] for e in events if e["event"] == "validation"}
    complete = events[-1]
    assert complete["steps"] < 30
    assert losses[complete["best_step"]] == min(losses.values())
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
