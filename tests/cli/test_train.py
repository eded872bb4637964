"""`train`: it learns, tells what it does, and writes what was asked for."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import Result
from safetensors.numpy import load_file

from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME, read_card
from pocketlora_export.cli.values import SIZE
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.packing import PackLimits, pack, steps
from pocketlora_export.runtime import Engine, Trainer, TrainerConfig
from pocketlora_export.runtime.session import Compute
from tests.cli.conftest import Cli, write_rows
from tests.support.bundles import Bundled, run_cli
from tests.support.tolerance import gradient_bound

PROGRESS = {
    "step", "steps", "loss", "learning_rate", "tokens", "tokens_per_second", "grad_norm", "seconds_left", "rss_anon",
    "rss_file", "skipped_steps",
}  # fmt: skip


def events(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_events_follow_the_schema_and_the_loss_falls(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a"
    result = call(
        "train", tiny_bundle.bundle, "--data", text_rows, "--output", output, "--iters", 12, "--rank", 4, "--valid",
        text_rows, "--eval-every", 5, "--learning-rate", 5e-3, "--json",
    )  # fmt: skip
    found = events(result)
    assert [e["event"] for e in found] == (
        ["plan", "validation", *["progress"] * 5, "validation", *["progress"] * 5, "validation", *["progress"] * 2]
        + ["validation", "complete"]
    )
    assert {e["v"] for e in found} == {1}
    progress = [e for e in found if e["event"] == "progress"]
    assert all(set(e) == PROGRESS | {"v", "event", "time"} for e in progress)
    assert [e["step"] for e in progress] == list(range(1, 13))
    assert progress[-1]["seconds_left"] == 0
    assert progress[0]["rss_anon"] > 0
    validations = [e["loss"] for e in found if e["event"] == "validation"]
    # The rows that are trained on: the loss must fall by more than the noise between batches.
    assert validations[-1] < 0.9 * validations[0]
    assert found[-1]["path"] == str(output)
    assert found[-1]["tokens"] == progress[-1]["tokens"]


@pytest.mark.parametrize("compute", ["fp32", "int16"])
def test_it_is_the_runtime_s_trainer_on_packed_shuffled_rows(
    compute: Compute, call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path
) -> None:
    result = call(
        "train", tiny_bundle.bundle, "--data", text_rows, "--output", tmp_path / "a", "--iters", 4, "--rank", 2,
        "--alpha", 6, "--batch-size", 2, "--grad-accumulation-steps", 2, "--seed", 7, "--learning-rate", 1e-2,
        "--target-modules", "q_proj,down_proj", "--compute", compute, "--json",
    )  # fmt: skip
    losses = [e["loss"] for e in events(result) if e["event"] == "progress"]
    with Engine(tiny_bundle.bundle, num_threads=1) as engine:
        coder = TextCoder.from_bundle(tiny_bundle.bundle, engine.facts.manifest)
        rows = [coder.encode_text(json.loads(line)["text"]) for line in text_rows.read_text("utf-8").splitlines()]
        limits = PackLimits(engine.facts.train_t_max, engine.facts.max_segments)
        config = TrainerConfig(
            rank=2, alpha=6, target_modules=("q_proj", "down_proj"), learning_rate=1e-2, seed=7, compute=compute
        )
        with Trainer(engine, config) as trainer:
            batches = steps(rows, batch_size=2, accumulation=2, seed=7, limits=limits)
            expected = [trainer.step(step).loss for step in itertools.islice(batches, 4)]
    assert losses == expected
    card = read_card(tmp_path / "a")
    assert (card.rank, card.alpha, card.target_modules) == (2, 6.0, ("down_proj", "q_proj"))


def test_init_adapter_goes_on_from_an_adapter(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "more"
    result = call(
        "train", tiny_bundle.bundle, "--data", text_rows, "--output", output, "--init-adapter", trained, "--iters", 1,
        "--learning-rate", 1e-6,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    before, after = load_file(trained / WEIGHTS_NAME), load_file(output / WEIGHTS_NAME)
    assert before.keys() == after.keys()
    # One AdamW step moves a weight by at most about the learning rate.
    assert max(np.abs(before[key] - after[key]).max() for key in before) <= 2e-6
    assert any((before[key] != after[key]).any() for key in before)


def test_the_same_seed_gives_the_same_adapter(call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("--output", tmp_path / name, "--iters", 2, "--seed", seed, "--dropout", 0.2)
        assert call("train", tiny_bundle.bundle, "--data", text_rows, *arguments).exit_code == 0
    a, b, c = ((tmp_path / name / WEIGHTS_NAME).read_bytes() for name in "abc")
    assert a == b != c


def test_the_summary_for_people(call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "a", "--iters", 2, "--valid", text_rows)
    result = call("train", tiny_bundle.bundle, "--data", text_rows, *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 steps, ")
    assert "held-out perplexity " in result.stdout
    assert f"adapter written to {tmp_path / 'a'}" in result.stdout


def test_an_existing_adapter_is_replaced_only_with_force(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path
) -> None:
    arguments = ("train", tiny_bundle.bundle, "--data", text_rows, "--output", tmp_path / "a", "--iters", 1)
    assert call(*arguments).exit_code == 0
    before = (tmp_path / "a" / WEIGHTS_NAME).read_bytes()
    refused = call(*arguments, "--seed", 1)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "a" / WEIGHTS_NAME).read_bytes() == before
    assert call(*arguments, "--seed", 1, "--force").exit_code == 0
    assert (tmp_path / "a" / WEIGHTS_NAME).read_bytes() != before


def test_truncate_cuts_rows_and_says_so(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "long.jsonl", {"text": "ab" * 60}, {"text": "short"})
    arguments = ("--output", tmp_path / "a", "--iters", 1, "--truncate")
    result = call("train", tiny_bundle.bundle, "--data", data, *arguments)
    assert result.exit_code == 0, result.output
    assert f"1 of 2 rows of {data} were cut to {tiny_bundle.tiny.train_len} tokens" in result.stderr


@pytest.mark.parametrize("batch_size", [1, 3])
def test_packing_does_not_change_the_loss(tiny_bundle: Bundled, text_rows: Path, batch_size: int) -> None:
    """A step's loss and gradient norm are those of its rows, one by one or packed."""
    with Engine(tiny_bundle.bundle, num_threads=1) as engine:
        coder = TextCoder.from_bundle(tiny_bundle.bundle, engine.facts.manifest)
        rows = [coder.encode_text(json.loads(line)["text"]) for line in text_rows.read_text("utf-8").splitlines()]
        packed = [pack(rows, PackLimits(engine.facts.train_t_max, segments)) for segments in (1, batch_size)]
        found = []
        for batches in packed:
            with Trainer(engine, TrainerConfig(rank=2, seed=1)) as trainer:
                step = trainer.forward_backward(batches)
                found.append((step.loss, step.grad_norm))
    np.testing.assert_allclose(found[0], found[1], rtol=gradient_bound(tiny_bundle.tiny))


def test_a_memory_limit_decides_and_is_honoured(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path
) -> None:
    arguments = ("train", tiny_bundle.bundle, "--data", text_rows, "--iters", 1, "--rank", 4, "--json")

    def alone(*more: object) -> list[dict[str, Any]]:
        """In a process of its own: plans count the scratch that a process' kernels hold by then."""
        return [json.loads(line) for line in run_cli(*arguments, *more).stdout.splitlines()]

    free = alone("--output", tmp_path / "a")[0]
    assert (free["event"], free["activations"], free["memory_limit"]) == ("plan", "fp32", 0)
    limited = alone("--output", tmp_path / "b", "--memory-limit", f"{free['planned'] - 1}B")
    assert limited[0]["planned"] < free["planned"]
    assert limited[-1]["memory"]["adapter"] > 0
    refused = call(*arguments, "--output", tmp_path / "c", "--memory-limit", "1kB")
    assert refused.exit_code == 6
    assert "memory limit" in refused.stderr
    bf16 = events(call(*arguments, "--output", tmp_path / "d", "--activations", "bf16", "--weights", "stream"))[0]
    assert (bf16["activations"], bf16["streams_weights"]) == ("bf16", True)


@pytest.mark.parametrize(
    ("text", "size"), [("800MB", 800_000_000), ("1.5gb", 1_500_000_000), ("4096", 4096), ("2 KiB", 2048)]
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "1TB2", "1e9"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a size such as"):
        SIZE.convert(text, None, None)
