"""Bundling from the command line: what comes out, and every bad input with its exit code and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from pocketlora_export.bundle.reader import open_bundle
from pocketlora_export.bundle.verify import verify_bundle
from pocketlora_export.cli.main import cli
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.recipes import build as building
from pocketlora_export.recipes.build import build_bundle, prepare
from pocketlora_export.recipes.recipe import Recipe
from tests.support.bundles import Bundled
from tests.support.models import MODULES, TinyModel, write_model

SMALL = Recipe(max_seq_len=64, train_seq_len=32, max_rank=4)
OPTIONS = ["--max-seq-len", "64", "--train-seq-len", "32", "--max-rank", "4"]
Change = Callable[[Path], object]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model."""
    folder = tmp_path_factory.mktemp("source") / "model"
    write_model(folder, TinyModel(layers=1))
    return folder


@pytest.fixture
def model(source: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(source, tmp_path / "model"))


def _bundle(model: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["bundle", "-m", str(model), "-o", str(output), *OPTIONS, *more])


def _edit_config(model: Path, **values: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


def _edit_tensors(model: Path, **tensors: torch.Tensor) -> None:
    found = load_file(model / "model.safetensors")
    save_file(found | {name.replace("__", "."): t for name, t in tensors.items()}, model / "model.safetensors")


def _truncate(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _poison(value: float) -> Change:
    def change(model: Path) -> None:
        weight = load_file(model / "model.safetensors")["model.norm.weight"]
        weight[3] = value
        _edit_tensors(model, model__norm__weight=weight)

    return change


BAD_MODELS: dict[str, tuple[Change, Status, str]] = {
    "no config": (lambda m: (m / "config.json").unlink(), Status.INPUT_MISSING, "config.json: missing"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), Status.INPUT_MISSING, "model.safetensors"),
    "half a download": (_truncate, Status.INPUT_MALFORMED, "truncated"),
    "other architecture": (
        lambda m: _edit_config(m, architectures=["MambaForCausalLM"]),
        Status.INPUT_UNSUPPORTED,
        "LlamaForCausalLM, MistralForCausalLM",
    ),
    "other shape": (
        lambda m: _edit_config(m, intermediate_size=192),
        Status.INPUT_MISMATCH,
        "mlp.up_proj.weight: expected shape [192, 96], found [160, 96]",
    ),
    "fewer layers than the config": (
        lambda m: _edit_config(m, num_hidden_layers=2),
        Status.INPUT_MISMATCH,
        "model.layers.1.self_attn.q_proj.weight: missing",
    ),
    "tokenizer is none": (
        lambda m: (m / "tokenizer.json").write_text("{}"),
        Status.INPUT_MALFORMED,
        "model/tokenizer.json: not a tokenizer",
    ),
    "tokenizer config is no object": (
        lambda m: (m / "tokenizer_config.json").write_text("[]"),
        Status.INPUT_MALFORMED,
        "tokenizer_config.json: expected a JSON object, found list",
    ),
    "chat template does not compile": (
        lambda m: (m / "chat_template.jinja").write_text("{% if %}"),
        Status.INPUT_MALFORMED,
        "the chat template does not compile",
    ),
    "nan": (_poison(float("nan")), Status.INPUT_MALFORMED, "model.norm.weight: 1 values are NaN or Inf"),
    "inf": (_poison(float("inf")), Status.INPUT_MALFORMED, "model.norm.weight: 1 values are NaN or Inf"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_model(model: Path, tmp_path: Path, case: str, as_json: bool) -> None:
    change, status, expected = BAD_MODELS[case]
    change(model)
    result = _bundle(model, tmp_path / "out", *(["--json"] if as_json else []))
    assert result.exit_code == status.exit_code
    assert expected in result.stderr
    assert "Traceback" not in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    if as_json:
        event = json.loads(result.stdout.splitlines()[-1])
        assert (event["event"], event["name"]) == ("error", status.name)


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--target-modules", "q_proj,c_attn"], Status.UNKNOWN_TARGET_MODULE, f"'c_attn'; valid: {', '.join(MODULES)}"),
        (["--group-size", "32"], Status.INVALID_ARGUMENT, "nf4 takes 64"),
        (["--max-rank", "0"], Status.INVALID_ARGUMENT, "max_rank"),
        (["--train-seq-len", "100000"], Status.SEQUENCE_TOO_LONG, "max_position_embeddings 384"),
        (["--recipe", "nothing"], Status.INPUT_MISSING, "default, int4, nf4"),
        (["--quant", "fp8"], Status.INVALID_ARGUMENT, "nf4"),
    ],
)
def test_bad_options(source: Path, tmp_path: Path, options: list[str], status: Status, expected: str) -> None:
    result = _bundle(source, tmp_path / "out", *options)
    assert result.exit_code == status.exit_code
    assert expected in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_all_problems_of_a_recipe_at_once(source: Path, tmp_path: Path) -> None:
    result = _bundle(source, tmp_path / "out", "--target-modules", "c_attn", "--train-seq-len", "100000")
    assert result.exit_code == Status.UNKNOWN_TARGET_MODULE.exit_code
    assert "'c_attn'" in result.stderr
    assert "train_seq_len: 100000" in result.stderr


def test_no_such_model(tmp_path: Path) -> None:
    result = _bundle(tmp_path / "nowhere", tmp_path / "out")
    assert result.exit_code == Status.INPUT_MISSING.exit_code
    assert "no such folder" in result.stderr


def test_a_bundle_is_complete_and_repeatable(tiny_bundle: Bundled, tmp_path: Path) -> None:
    tiny = tiny_bundle.tiny
    recipe = Recipe(
        max_seq_len=tiny.max_len,
        train_seq_len=tiny.train_len,
        prefill_seq_len=tiny.prefill_len,
        max_rank=tiny.max_rank,
    )
    again = build_bundle(str(tiny_bundle.source), tmp_path / "again", recipe, threads=1, self_test=True)
    verify_bundle(again.path)
    first = open_bundle(tiny_bundle.bundle).manifest
    assert again.manifest.base_sha256 == first.base_sha256
    assert again.manifest == first
    assert contents(again.path) == contents(tiny_bundle.bundle)
    assert set(again.seconds) == {"check", "quantize", "lower", "finish", "self-test"}


def test_existing_output_is_kept(tiny_bundle: Bundled) -> None:
    before = (tiny_bundle.bundle / "manifest.json").read_bytes()
    result = _bundle(tiny_bundle.source, tiny_bundle.bundle)
    assert result.exit_code == Status.INVALID_ARGUMENT.exit_code
    assert "--force replaces it" in result.stderr
    assert (tiny_bundle.bundle / "manifest.json").read_bytes() == before


def test_without_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()
    assert prepare(str(model), SMALL).source.name == "model"


def test_end_tokens_of_generation_config_are_added(model: Path) -> None:
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2, 9]}))
    assert prepare(str(model), SMALL).facts.eos_token_ids == (2, 7, 9)


def test_untied_head_in_a_tied_model_is_ignored(model: Path) -> None:
    _edit_tensors(model, lm_head__weight=torch.zeros(300, 96))
    assert "lm_head.weight" not in {t.name for t in prepare(str(model), SMALL).tensors}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_disk_too_small(source: Path, small_disk: Path) -> None:
    result = _bundle(source, small_disk / "out")
    assert result.exit_code == Status.DISK_FULL.exit_code
    assert "MB needed" in result.stderr
    assert list(small_disk.iterdir()) == []


def test_disk_full_while_writing(source: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "require_space", lambda *_: None)
    (small_disk / "other").write_bytes(bytes(100_000))
    with pytest.raises(PocketLoraError, match="No space left on device") as caught:
        build_bundle(str(source), small_disk / "out", SMALL)
    assert caught.value.status is Status.DISK_FULL
    assert [p.name for p in small_disk.iterdir()] == ["other"]
