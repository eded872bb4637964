"""`adapter` from the command line: help, JSON, errors, and no PyTorch where none is needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.mlx_folder import WEIGHTS_NAME as MLX_NAME
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME
from pocketlora_export.cli.adapter import COMMANDS
from pocketlora_export.errors import Status
from tests.adapters.conftest import PeftMaker
from tests.cli.conftest import call
from tests.cli.test_no_torch import run_guarded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    result = call("adapter", name, "--help")
    assert result.exit_code == 0, result.output
    assert f"pocketlora-export adapter {name}" in result.stdout.split("Options:")[1]


def test_without_torch(make_peft: PeftMaker, model_folder: Path, tmp_path: Path) -> None:
    folder = make_peft()
    for arguments in (
        ("import", folder, "-o", tmp_path / "imported"),
        ("export", folder, "--format", "mlx", "-o", tmp_path / "mlx"),
        ("export", folder, "--format", "peft", "-o", tmp_path / "again"),
        ("export", folder, "--format", "gguf", "--base", model_folder, "-o", tmp_path / "a.gguf"),
        ("inspect", folder),
        ("list", tmp_path, "--json"),
        ("diff", folder, tmp_path / "mlx"),
    ):
        done = run_guarded("adapter", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)


def test_inspect(make_peft: PeftMaker) -> None:
    folder = make_peft(use_rslora=True, rank_pattern={"q_proj": 1})
    found = json.loads(call("adapter", "inspect", folder, "--json").stdout)
    assert (found["format"], found["rank"], found["alpha"], found["use_rslora"]) == ("peft", 4, 6, True)
    assert found["modules"] == len(found["sites"]) == 14
    assert found["parameters"] == sum(site["parameters"] for site in found["sites"])
    assert found["base_sha256"] is None
    scales = {site["module"]: site["scale"] for site in found["sites"]}
    assert scales["model.layers.0.self_attn.q_proj"] == 6
    assert scales["model.layers.0.mlp.up_proj"] == 3
    assert all(site["norm"] > 0 for site in found["sites"])
    shown = call("adapter", "inspect", folder)
    assert shown.exit_code == 0
    assert "model.layers.1.mlp.down_proj" in shown.stdout


def test_list_names_good_and_bad_ones(make_peft: PeftMaker, tmp_path: Path) -> None:
    make_peft("good")
    call("adapter", "export", tmp_path / "good", "--format", "mlx", "-o", tmp_path / "mlx")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    (tmp_path / "bad" / WEIGHTS_NAME).write_bytes(b"cut off")
    (tmp_path / "other").mkdir()
    result = call("adapter", "list", tmp_path, "--json")
    assert result.exit_code == 0
    rows = {Path(row["path"]).name: row for row in json.loads(result.stdout)["adapters"]}
    assert list(rows) == ["bad", "good", "mlx"]
    assert rows["bad"]["problem"]["name"] == "ADAPTER_CORRUPT"
    assert (rows["good"]["problem"], rows["good"]["rank"]) == (None, 4)
    assert rows["mlx"]["format"] == "mlx"
    shown = call("adapter", "list", tmp_path).stdout
    assert all(name in shown for name in ("bad", "good", "mlx"))
    assert "no adapters" in call("adapter", "list", tmp_path / "other").stderr
    assert call("adapter", "list", tmp_path / "missing").exit_code == Status.INPUT_MISSING.exit_code


def test_diff(make_peft: PeftMaker, tmp_path: Path) -> None:
    one, two = make_peft("one"), make_peft("two", 2, r=2, target_modules=["q_proj"])
    call("adapter", "export", one, "--format", "mlx", "-o", tmp_path / "mlx")
    same = json.loads(call("adapter", "diff", one, tmp_path / "mlx", "--json").stdout)
    assert same["largest_relative_distance"] == 0
    assert set(same["config"]) == {"format"}
    other = json.loads(call("adapter", "diff", one, two, "--json").stdout)
    assert other["config"]["rank"] == [4, 2]
    assert len(other["modules"]) == 14
    assert sum(module["relative"] is None for module in other["modules"]) == 12
    assert other["largest_relative_distance"] > 0.1
    assert "rank: 4 → 2" in call("adapter", "diff", one, two).stdout


def test_import_keeps_what_is_there_without_force(make_peft: PeftMaker, tmp_path: Path) -> None:
    folder = make_peft()
    assert call("adapter", "import", folder, "-o", tmp_path / "out").exit_code == 0
    result = call("adapter", "import", folder, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert call("adapter", "import", folder, "-o", tmp_path / "out", "--force").exit_code == 0
    facts = json.loads(call("adapter", "import", folder, "-o", tmp_path / "more", "--json").stdout)
    assert (facts["output"], facts["rank"], facts["checked_against"]) == (str(tmp_path / "more"), 4, None)


def test_export_says_what_it_folded(make_peft: PeftMaker, model_folder: Path, tmp_path: Path) -> None:
    folder = make_peft(alpha_pattern={"up_proj": 3}, rank_pattern={"q_proj": 2})
    for form, base, lines in (("mlx", (), 6), ("gguf", ("--base", model_folder), 2)):
        result = call("adapter", "export", folder, "--format", form, *base, "-o", tmp_path / form, "--json")
        assert result.exit_code == 0, result.output
        changes = json.loads(result.stdout)["changes"]
        assert len(changes) == lines, changes
        assert any("up_proj: scale 0.75 was folded into lora_b" in line for line in changes)


def test_gguf_needs_a_base_and_a_free_name(make_peft: PeftMaker, model_folder: Path, tmp_path: Path) -> None:
    folder = make_peft()
    arguments = ("adapter", "export", folder, "--format", "gguf", "-o", tmp_path / "a.gguf")
    result = call(*arguments)
    assert (result.exit_code, "either --bundle or --base" in result.stderr) == (2, True)
    assert call(*arguments, "--base", model_folder).exit_code == 0
    before = (tmp_path / "a.gguf").read_bytes()
    assert call(*arguments, "--base", model_folder).exit_code == 2
    assert call(*arguments, "--base", model_folder, "--force").exit_code == 0
    assert (tmp_path / "a.gguf").read_bytes() == before
    assert call(*arguments[:-1], tmp_path, "--base", model_folder).exit_code == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("command", ["inspect", "import", "export"])
def test_what_is_no_adapter_is_named(tmp_path: Path, command: str) -> None:
    options = {"import": ("-o", tmp_path / "o"), "export": ("-o", tmp_path / "o", "--format", "peft")}.get(command, ())
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("file", "a file, expected an adapter folder"),
        ("none", "no such folder"),
        ("empty", CONFIG_NAME),
    ):
        result = call("adapter", command, tmp_path / name, *options)
        assert result.exit_code == Status.ADAPTER_MISSING_FILE.exit_code, result.output
        assert words in result.stderr
    (tmp_path / "empty" / MLX_NAME).write_bytes(b"")
    (tmp_path / "empty" / CONFIG_NAME).write_text('{"lora_parameters": {"rank": 1, "scale": 1}}')
    assert call("adapter", command, tmp_path / "empty", *options).exit_code == Status.ADAPTER_CORRUPT.exit_code
