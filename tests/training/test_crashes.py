"""Training that is killed at any moment and goes on: the adapter is that of a run that was never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import call

ITERS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("crashes") / "rows.jsonl"
    rows = [[rng.randrange(3, 3000) for _ in range(rng.randrange(8, 20))] for _ in range(13)]
    path.write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in rows))
    return path


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


class Training:
    """One training by the runner, with everything that has a state switched on."""

    def __init__(self, program: Path, bundle: Path, data: Path, at: Path, optimizer: str = "adamw-8bit") -> None:
        self.output, self.checkpoints = at / "out", at / "checkpoints"
        self.command = [
            *(str(program), "train", str(bundle), "--data", str(data), "-o", str(self.output), "--threads", "1"),
            *("--iters", str(ITERS), "--batch-size", "2", "--rank", "16", "--learning-rate", "1e-3", "--seed", "5"),
            *("--optimizer", optimizer, "--schedule", "cosine", "--warmup-steps", "3", "--dropout", "0.1"),
            *("--max-grad-norm", "0.5", "--valid", str(data), "--eval-every", "8", "--keep-best"),
        ]
        # Killed after the adapter was saved but before the end, it saves it once more.
        self.resumable = [
            *self.command,
            "--checkpoint-every",
            "3",
            "--force",
            "--checkpoint-dir",
            str(self.checkpoints),
        ]

    def whole(self) -> str:
        """The adapter of a run without a stop and without checkpoints."""
        subprocess.run(self.command, check=True, capture_output=True)
        found = digest(self.output)
        shutil.rmtree(self.output)
        return found

    def killed_after(self, seconds: float) -> bool:
        """Start or go on, kill. Returns whether it was killed, rather than done."""
        with subprocess.Popen(
            [*self.resumable, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.returncode == -9:
            return True
        assert process.returncode == 0
        return False

    def killed_at_a_checkpoint(self) -> None:
        """Start, kill as soon as there is a whole checkpoint, however fast this machine is."""
        with subprocess.Popen(self.resumable, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not list(self.checkpoints.glob("step-*[0-9]")):
                time.sleep(0.001)
            process.kill()
        assert process.returncode == -9, "done before it was killed"

    def events(self, *more: str) -> list[dict[str, Any]]:
        """Go on to the end."""
        done = subprocess.run([*self.resumable, "--resume", *more], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def clear(self) -> None:
        """Back to the start."""
        for folder in (self.output, self.checkpoints):
            shutil.rmtree(folder, ignore_errors=True)


def kill_at_random(training: Training, kills: int, seed: int) -> int:
    """So many kills over as many trainings as that takes. Returns how many of them came to their end."""
    expected, rng, whole = training.whole(), random.Random(seed), 0
    start = time.monotonic()
    training.killed_after(600)
    longest = time.monotonic() - start
    assert digest(training.output) == expected
    training.clear()
    while kills > 0:
        if training.killed_after(rng.uniform(0, longest)):
            kills -= 1
            continue
        assert digest(training.output) == expected
        whole += 1
        training.clear()
    events = training.events()
    assert digest(training.output) == expected
    steps = [event["step"] for event in events if event["event"] == "progress"]
    first = next((event["step"] for event in events if event["event"] == "resume"), 0)
    assert steps == list(range(first + 1, ITERS + 1))
    return whole + 1


def test_kills_at_random_moments(program: Path, shipped_bundle: Path, data: Path, tmp_path: Path) -> None:
    kill_at_random(Training(program, shipped_bundle, data, tmp_path), 10, seed=1)


@pytest.mark.slow
def test_200_kills_at_random_moments(program: Path, shipped_bundle: Path, data: Path, tmp_path: Path) -> None:
    whole = kill_at_random(Training(program, shipped_bundle, data, tmp_path), 200, seed=2)
    print(f"200 kills, {whole} trainings came to their end, all with the same adapter")


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "lion", "sgd"])
def test_goes_on_with_every_optimizer(
    optimizer: str, program: Path, shipped_bundle: Path, data: Path, tmp_path: Path
) -> None:
    training = Training(program, shipped_bundle, data, tmp_path, optimizer)
    expected = training.whole()
    training.events()
    assert digest(training.output) == expected
    # As if it had been killed after step 21, on the way to step 24.
    shutil.rmtree(training.output)
    shutil.rmtree(training.checkpoints / "step-00000024")
    events = training.events()
    assert [e["step"] for e in events if e["event"] == "progress"] == [22, 23, 24]
    assert digest(training.output) == expected


def test_a_damaged_checkpoint_is_passed_over(program: Path, shipped_bundle: Path, data: Path, tmp_path: Path) -> None:
    training = Training(program, shipped_bundle, data, tmp_path)
    expected = training.whole()
    training.events()
    shutil.rmtree(training.output)
    damaged = training.checkpoints / "step-00000024" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    events = training.events()
    assert [(e["code"], "step-00000024" in e["message"]) for e in events if e["event"] == "warning"] == [(201, True)]
    assert [e["step"] for e in events if e["event"] == "resume"] == [21]
    assert digest(training.output) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=False).returncode != 0:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_and_read_only_disks(
    program: Path, shipped_bundle: Path, data: Path, tmp_path: Path, small_disk: Path
) -> None:
    training = Training(program, shipped_bundle, data, tmp_path)
    expected = training.whole()
    training.checkpoints = small_disk / "checkpoints"
    training.resumable = [*training.resumable[:-1], str(training.checkpoints)]
    training.killed_at_a_checkpoint()
    before = {path: path.read_bytes() for path in training.checkpoints.glob("step-????????/*")}
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
    failed = subprocess.run([*training.resumable, "--resume"], check=False, capture_output=True, text=True)
    assert failed.returncode == 7, failed.stderr
    assert "No space left" in failed.stderr
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    failed = subprocess.run([*training.resumable, "--resume"], check=False, capture_output=True, text=True)
    assert failed.returncode == 7, failed.stderr
    assert "Read-only file system" in failed.stderr
    assert {path: path.read_bytes() for path in before} == before
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    training.events()
    assert digest(training.output) == expected


def test_the_python_command_goes_on(shipped_bundle: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"note number {i}: water the plants"}) + "\n" for i in range(5)))
    checkpoints = tmp_path / "checkpoints"
    common = [shipped_bundle, "--data", texts, "--rank", 4, "--batch-size", 2, "--seed", 3]
    more = ["--checkpoint-dir", checkpoints, "--checkpoint-every", 2]
    whole = call("train", *common, "--iters", 9, "--output", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    first = call("train", *common, "--iters", 5, "--output", tmp_path / "first", *more)
    assert first.exit_code == 0, first.output
    again = call("train", *common, "--iters", 9, "--output", tmp_path / "second", *more)
    assert again.exit_code == 2, again.output
    assert "--resume" in again.output
    second = call("train", *common, "--iters", 9, "--output", tmp_path / "second", *more, "--resume")
    assert second.exit_code == 0, second.output
    assert digest(tmp_path / "second") == digest(tmp_path / "whole")
    more += ["--resume", "--learning-rate", "0.1"]
    other = call("train", *common, "--iters", 9, "--output", tmp_path / "other", *more)
    assert other.exit_code == 3, other.output
    assert "learning_rate" in other.output
