"""What the tests of the commands share: calling them in this process, data files, a trained adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pocketlora_export.cli.main import cli
from tests.support.bundles import Bundled

Cli = Callable[..., Result]
TEXTS = ("the cat sat on the mat", "a dog ran", "héllo wörld", "one two three four five")


def call(*arguments: object) -> Result:
    """Run the command line in this process, on one thread."""
    name, *rest = map(str, arguments)
    threads = ["--threads", "1"] if name in ("train", "eval", "generate") else []
    return CliRunner().invoke(cli, [name, *rest, *threads], prog_name="pocketlora-export")


@pytest.fixture(name="call", scope="session")
def call_fixture() -> Cli:
    return call


def write_rows(path: Path, *rows: object) -> Path:
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def text_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", *({"text": text} for text in TEXTS))


@pytest.fixture(scope="session")
def trained(tiny_bundle: Bundled, text_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the tiny bundle, trained for a few steps."""
    output = tmp_path_factory.mktemp("trained") / "adapter"
    arguments = ("--data", text_rows, "--output", output, "--iters", 5, "--rank", 4, "--learning-rate", 5e-3)
    result = call("train", tiny_bundle.bundle, *arguments)
    assert result.exit_code == 0, result.output
    return output
