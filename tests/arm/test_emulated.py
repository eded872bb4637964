"""The aarch64 build under emulation against the x86-64 build: the same training steps, evaluation and decoding.

`max` shows every extension that the emulator knows; `cortex-a76` has neither i8mm nor bf16: a kernel chosen
wrongly dies there.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import BundleFactory
from tests.support.bundles import Bundled
from tests.support.models import TinyModel
from tests.support.oracle import random_rows, relative_error, save_random_adapter
from tests.support.tolerance import forward_bound, gradient_bound

pytestmark = pytest.mark.arm

CPUS = ("max", "cortex-a76")
STEPS = 3
# The model of tests/parity/test_backends.py, so that its bundle is made once.
DELEGATED = TinyModel(backends=("xnnpack", "cpu"), seed=7)
GREEDY: tuple[object, ...] = ()
SAMPLED: tuple[object, ...] = ("--temperature", 0.8, "--top-p", 0.9, "--seed", 7)
Run = Callable[..., list[dict[str, Any]]]


def runner(command: list[str]) -> Run:
    """Run pocketlora_run behind a command prefix; the JSON lines of its stdout."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        full = [*command, *map(str, arguments), "--threads", "1"]
        done = subprocess.run(full, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(full)}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def host(repository: Path) -> Run:
    """The runner of this machine."""
    return runner([str(repository / "build" / "host" / "tools" / "pocketlora_run")])


@pytest.fixture(scope="module", params=CPUS)
def emulated(request: pytest.FixtureRequest, repository: Path) -> Run:
    """The aarch64 runner on an emulated CPU, or natively where this machine is one."""
    program = repository / "build" / "arm" / "out" / "tools" / "pocketlora_run"
    assert program.is_file(), "the aarch64 build is missing: make build-arm"
    if platform.machine() == "aarch64":
        return runner([str(program)])
    emulator = shutil.which("qemu-aarch64-static")
    assert emulator is not None, "qemu-user-static is missing: make build-arm"
    return runner([emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", request.param, str(program)])


@pytest.fixture(scope="module")
def adapter(tiny_bundle: Bundled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter by peft."""
    folder = tmp_path_factory.mktemp("arm") / "adapter"
    modules = list(tiny_bundle.tiny.target_modules)
    save_random_adapter(tiny_bundle.dequantized, folder, 1, r=4, lora_alpha=6, target_modules=modules)
    return folder


@pytest.fixture(scope="module")
def data(tiny_bundle: Bundled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of token ids, some labels masked."""
    path = tmp_path_factory.mktemp("arm-data") / "rows.jsonl"
    rows = [random_rows((length,), tiny_bundle.tiny.vocab, length) for length in (23, 40, 8, 31)]
    lines = [json.dumps({"token_ids": r.tokens.tolist(), "labels": r.labels.tolist()}) for r in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def train(run: Run, bundled: Bundled, adapter: Path, data: Path, out: Path, optimizer: str) -> list[float]:
    """Losses of a few steps of two rows; the adapter lies in `out` afterwards."""
    options = {"--iters": STEPS, "--batch-size": 2, "--learning-rate": 1e-3, "--optimizer": optimizer, "--seed": 5}
    pairs = [part for pair in options.items() for part in pair]
    events = run("train", bundled.bundle, "--data", data, "-o", out, "--init-adapter", adapter, *pairs)
    return [event["loss"] for event in events if event["event"] == "progress"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_steps(
    optimizer: str, host: Run, emulated: Run, tiny_bundle: Bundled, adapter: Path, data: Path, tmp_path: Path
) -> None:
    """Losses and trained tensors agree within the bounds of float32 sums taken in another order."""
    found = train(emulated, tiny_bundle, adapter, data, tmp_path / "arm", optimizer)
    expected = train(host, tiny_bundle, adapter, data, tmp_path / "host", optimizer)
    assert len(found) == STEPS
    worst = float(np.max(np.abs(np.array(found) / np.array(expected) - 1)))
    assert worst <= forward_bound(tiny_bundle.tiny)
    tensors = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("arm", "host")]
    start = load_file(adapter / "adapter_model.safetensors")
    assert set(tensors[0]) == set(tensors[1]) == set(start)
    # The tensors themselves: each step adds an update whose relative error is that of a gradient.
    errors = {name: relative_error(tensors[0][name], tensors[1][name]) for name in start}
    print(f"{optimizer}: loss {worst:.1e}, tensors {max(errors.values()):.1e}")
    assert max(errors.values()) <= gradient_bound(tiny_bundle.tiny)
    assert any(relative_error(tensors[1][name], start[name]) > 100 * max(errors.values()) for name in start)


def test_log_probabilities(host: Run, emulated: Run, tiny_bundle: Bundled, adapter: Path, data: Path) -> None:
    arguments = ("eval", tiny_bundle.bundle, "--data", data, "--adapter", adapter, "--logprobs")
    (found,), (expected,) = emulated(*arguments), host(*arguments)
    assert found["tokens"] == expected["tokens"]
    pairs = zip(found["rows"], expected["rows"], strict=True)
    for row, wanted in pairs:
        assert row["token_ids"] == wanted["token_ids"]
        assert row["logprobs"][0] is None
        assert relative_error(row["logprobs"][1:], wanted["logprobs"][1:]) <= forward_bound(tiny_bundle.tiny)


@pytest.mark.parametrize(
    "sampling", [(), ("--temperature", 0.8, "--top-p", 0.9, "--seed", 7)], ids=["greedy", "sampled"]
)
def test_decoded_tokens(
    sampling: tuple[object, ...], host: Run, emulated: Run, tiny_bundle: Bundled, adapter: Path
) -> None:
    """The same tokens, with and without an adapter."""
    prompt = ",".join(map(str, random_rows((12,), tiny_bundle.tiny.vocab, 3).tokens))
    arguments = ("generate", tiny_bundle.bundle, "--prompt-ids", prompt, "--max-new-tokens", 24, *sampling)
    for extra in ((), ("--adapter", adapter)):
        (found,), (expected,) = emulated(*arguments, *extra), host(*arguments, *extra)
        assert found["new_tokens"] > 0
        assert found["token_ids"] == expected["token_ids"]


def test_delegates(host: Run, emulated: Run, make_bundle: BundleFactory, tmp_path: Path) -> None:
    """XNNPACK on both: a training step, log-probabilities through delegates, decoded tokens."""
    made = make_bundle(DELEGATED)
    rows = random_rows((31,), DELEGATED.vocab, 9)
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"token_ids": rows.tokens.tolist(), "labels": rows.labels.tolist()}) + "\n")
    adapter = tmp_path / "adapter"
    save_random_adapter(made.dequantized, adapter, 1, r=4, target_modules=list(DELEGATED.target_modules))
    prompt = ",".join(map(str, random_rows((12,), DELEGATED.vocab, 3).tokens))
    backend = ("--backend", "xnnpack")
    losses, tokens = [], []
    for name, run in (("host", host), ("arm", emulated)):
        out = ("-o", tmp_path / name, "--init-adapter", adapter, "--iters", 2, "--optimizer", "sgd")
        events = run("train", made.bundle, "--data", data, *out, "--learning-rate", 1e-3, *backend)
        losses.append([event["loss"] for event in events if event["event"] == "progress"])
        text = run("generate", made.bundle, "--prompt-ids", prompt, "--max-new-tokens", 8, *backend)
        tokens.append(text[0]["token_ids"])
    assert len(losses[0]) == 2
    assert float(np.max(np.abs(np.array(losses[1]) / np.array(losses[0]) - 1))) <= forward_bound(DELEGATED)
    assert tokens[0] == tokens[1]
    tensors = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("arm", "host")]
    errors = {name: relative_error(tensors[0][name], tensors[1][name]) for name in tensors[0]}
    assert max(errors.values()) <= gradient_bound(DELEGATED)
