"""`train --loss dpo` in both commands: what it tells, what it learns, going on, what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from safetensors.numpy import load_file

from pocketlora_export.runtime.library import find_library
from tests.cli.conftest import Cli, write_rows
from tests.support.bundles import Bundled

REWARDS = {"chosen_reward", "rejected_reward", "reward_margin", "reward_accuracy"}
TEXTS = [
    {"prompt": f"{a} plus {b} is", "chosen": f" {a + b}", "rejected": f" {a + b + 3}, I think"}
    for a, b in ((1, 2), (4, 4), (3, 5), (2, 2))
]
TOKENS = [
    {
        "chosen": {"token_ids": [3, 5, seed, 9, 8], "labels": [-100, -100, seed, 9, 8]},
        "rejected": {"token_ids": [3, 5, 7, seed], "labels": [-100, -100, 7, seed]},
    }
    for seed in range(10, 15)
]
OPTIONS = ("--loss", "dpo", "--rank", 4, "--learning-rate", 5e-3, "--batch-size", 2, "--seed", 3, "--threads", 1)


def events(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "adapter_model.safetensors")
    return found


def test_the_margin_of_text_rows_grows(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    rows, output = write_rows(tmp_path / "pairs.jsonl", *TEXTS), tmp_path / "out"
    found = events(call(
        "train", tiny_bundle.bundle, "--data", rows, "--valid", rows, "-o", output, *OPTIONS, "--iters", 20,
        "--label-smoothing", 0.05, "--beta", 0.2, "--json",
    ))  # fmt: skip
    progress = [e for e in found if e["event"] == "progress"]
    assert all(e.keys() >= REWARDS for e in progress)
    assert (progress[0]["reward_margin"], progress[0]["loss"]) == (0, pytest.approx(np.log(2)))
    before, after = (e for e in found if e["event"] == "validation")
    assert before["perplexity"] is None
    assert after["reward_margin"] > 0.5 > before["reward_margin"] == 0
    assert (after["reward_accuracy"], after["improved"]) == (1, True)
    told = call(
        "train", tiny_bundle.bundle, "--data", rows, "--valid", rows, "-o", tmp_path / "b", *OPTIONS, "--iters", 2
    )
    assert "held-out reward margin 0.0000 (accuracy 0.00) -> " in told.stdout
    assert "perplexity" not in told.output


def test_both_commands_make_the_same_adapter(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    """From the same rows of tokens; a training that one begins the other ends."""
    rows, program = write_rows(tmp_path / "pairs.jsonl", *TOKENS), find_library().parent / "tools" / "pocketlora_run"
    common = ("train", tiny_bundle.bundle, "--data", rows, *OPTIONS, "--dropout", 0.1)

    def run(*arguments: object) -> list[dict[str, Any]]:
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    python = events(call(*common, "-o", tmp_path / "python", "--iters", 6, "--json"))
    runner = run(*common, "-o", tmp_path / "runner", "--iters", 6)
    for a, b in zip(python, runner, strict=True):
        if a["event"] == "progress":
            assert a.keys() == b.keys()
            assert {key: a[key] for key in ("loss", *REWARDS)} == {key: b[key] for key in ("loss", *REWARDS)}
    checkpoints = ("--checkpoint-dir", tmp_path / "checkpoints")
    events(call(*common, "-o", tmp_path / "begun", "--iters", 3, *checkpoints, "--json"))
    resumed = run(*common, "-o", tmp_path / "ended", "--iters", 6, *checkpoints, "--resume")
    assert [e["step"] for e in resumed if e["event"] == "progress"] == [4, 5, 6]
    expected = weights(tmp_path / "python")
    for folder in ("runner", "ended"):
        found = weights(tmp_path / folder)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_what_is_refused(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    pairs, texts = write_rows(tmp_path / "pairs.jsonl", *TEXTS), write_rows(tmp_path / "texts.jsonl", {"text": "abc"})
    common = ("train", tiny_bundle.bundle, "-o", tmp_path / "out", "--iters", 1)
    for arguments, code, words in (
        (("--data", pairs), 3, "pairs.jsonl:1: a row of a preference, with 'chosen' and 'rejected'"),
        (("--data", texts, "--loss", "dpo"), 3, "texts.jsonl:1: expected a row of a preference"),
        (("--data", pairs, "--beta", 0.2), 2, "--beta needs --loss dpo"),
        (("--data", pairs, "--label-smoothing", 0.1), 2, "--label-smoothing needs --loss dpo"),
        (("--data", pairs, "--loss", "dpo", "--label-smoothing", 0.5), 2, "--label-smoothing"),
        (("--data", pairs, "--loss", "dpo", "--beta", 0), 2, "--beta"),
        (("--data", pairs, "--loss", "dpo", "--train-on-prompt"), 2, "--train-on-prompt cannot be combined"),
    ):
        result = call(*common, *arguments)
        assert result.exit_code == code, result.output
        assert words in result.output
        assert not (tmp_path / "out").exists()
