"""`train`, `eval`, `generate` and `chat` never import PyTorch: not when they load, and not while they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import Bundled

GUARD = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchao", "executorch", "transformers", "peft"}:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
sys.argv = ["pocketlora-export", *sys.argv[1:]]
try:
    runpy.run_module("pocketlora_export", run_name="__main__")
finally:
    assert "torch" not in sys.modules
"""


def run_guarded(*arguments: object, said: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process that fails when PyTorch is imported. `said` is its standard input."""
    return subprocess.run(
        [sys.executable, "-c", GUARD, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        input=said,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_guard_works() -> None:
    breaking = GUARD.replace('runpy.run_module("pocketlora_export", run_name="__main__")', "import torch")
    done = subprocess.run([sys.executable, "-c", breaking], capture_output=True, text=True, check=False)
    assert "was imported" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("name", ["train", "eval", "generate", "chat"])
def test_loading_a_command_imports_no_torch(name: str) -> None:
    done = run_guarded(name, "--help")
    assert done.returncode == 0, done.stderr


def test_running_them_imports_no_torch(tiny_bundle: Bundled, tmp_path: Path) -> None:
    data, adapter = tmp_path / "rows.jsonl", tmp_path / "adapter"
    data.write_text(
        '{"text": "hello there"}\n{"messages": [{"role": "user", "content": "a"},'
        ' {"role": "assistant", "content": "b"}]}\n'
    )
    bundle, board = tiny_bundle.bundle, ("--tensorboard", tmp_path / "events")
    for arguments in (
        (
            "train",
            bundle,
            "--data",
            data,
            "--output",
            adapter,
            "--iters",
            2,
            "--rank",
            2,
            "--valid",
            data,
            *board,
        ),
        ("eval", bundle, "--data", data, "--adapter", adapter, "--logprobs", "--json"),
        ("generate", bundle, "--adapter", adapter, "--prompt", "hello", "--max-new-tokens", 4, "--chat"),
        ("chat", bundle, "--adapter", adapter, "--max-new-tokens", 4, "--json"),
    ):
        done = run_guarded(*arguments, "--threads", 1, said="hello\n")
        assert done.returncode == 0, done.stderr
    assert '"message": "hello"' in done.stdout
    assert run_guarded("verify", adapter, "--bundle", bundle).returncode == 0
