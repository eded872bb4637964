"""inspect and verify on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pocketlora_export.cli.main import cli
from pocketlora_export.errors import Status
from tests.support.bundles import Bundled


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def test_inspect_tables(tiny_bundle: Bundled) -> None:
    result = _run("inspect", tiny_bundle.bundle)
    assert result.exit_code == 0
    for text in ("LlamaForCausalLM", "nf4, groups of 64", "block_backward", "kv cache", "base.ptd", "adds BOS"):
        assert text in result.stdout


def test_inspect_json_is_the_manifest(tiny_bundle: Bundled) -> None:
    result = _run("inspect", tiny_bundle.bundle, "--json")
    assert json.loads(result.stdout) == json.loads((tiny_bundle.bundle / "manifest.json").read_text("utf-8"))


def test_verify(tiny_bundle: Bundled) -> None:
    assert "are as the manifest says" in _run("verify", tiny_bundle.bundle).stderr
    report = json.loads(_run("verify", tiny_bundle.bundle, "--json").stdout)
    assert report["ok"] is True
    assert report["methods"] == 11


def test_verify_a_damaged_bundle(tiny_bundle: Bundled, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle.bundle, tmp_path / "bundle"))
    (bundle / "tokenizer.json").write_text("{}")
    result = _run("verify", bundle)
    assert result.exit_code == Status.BUNDLE_CORRUPT.exit_code
    assert "tokenizer.json" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_no_bundle(command: str, tmp_path: Path) -> None:
    result = _run(command, tmp_path / "nothing")
    assert result.exit_code == Status.BUNDLE_MISSING_FILE.exit_code
    assert "no such bundle" in result.stderr


@pytest.mark.parametrize("command", ["bundle", "inspect", "verify", "dequantize"])
def test_help_shows_examples(command: str) -> None:
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert f"pocketlora-export {command}" in result.output
    assert "Examples" in result.output
