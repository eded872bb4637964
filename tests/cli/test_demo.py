"""`demo` from the bundle on: two adapters, one live session, the page and the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME
from pocketlora_export.cli import demo as demo_module
from pocketlora_export.cli.main import cli
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.report.demo_result import Sample
from pocketlora_export.report.demo_run import check_base
from tests.cli.conftest import write_rows
from tests.support.bundles import Bundled


@pytest.fixture
def examples(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "cats", tmp_path / "dogs"
    for folder in folders:
        folder.mkdir()
        for name in ("train", "valid"):
            write_rows(folder / f"{name}.jsonl", *({"text": f"{name} {i} {folder.name}"} for i in range(6)))
    return folders


@pytest.fixture
def run(tiny_bundle: Bundled, examples: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    def make_bundle(model: str, bundle: Path) -> float:
        assert model == "some/model"
        # Not a copy: its pages would count as dirty until they are written back.
        bundle.symlink_to(tiny_bundle.bundle)
        return 1.0

    monkeypatch.setattr(demo_module, "_make_bundle", make_bundle)
    arguments = ["-m", "some/model", "--first", examples[0], "--second", examples[1], "-o", tmp_path / "out"]
    small = ["--iters", 20, "--rank", 4, "--max-new-tokens", 8, "--learning-rate", 5e-3, "--threads", 1, "--json"]
    return CliRunner().invoke(cli, ["demo", *map(str, [*arguments, *small])])


def test_the_demo_measures_and_shows(run: Result, tmp_path: Path) -> None:
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert [adapter["name"] for adapter in found["adapters"]] == ["cats", "dogs"]
    for adapter in found["adapters"]:
        assert adapter["perplexity_after"] < adapter["perplexity_before"]
        assert adapter["tokens_per_second"] > 0
        assert (Path(adapter["path"]) / WEIGHTS_NAME).is_file()
    written = {(sample["label"], sample["prompt"]): sample["tokens"] for sample in found["samples"]}
    assert [label for label, _ in written] == [
        label for label in ("base", "cats", "dogs", "base again") for _ in demo_module.PROMPTS
    ]
    for prompt in demo_module.PROMPTS:
        assert written["base", prompt] == written["base again", prompt]
    assert any(written["base", p] != written["cats", p] != written["dogs", p] for p in demo_module.PROMPTS)
    assert found["base_private_dirty"] == 0
    assert found["swap"]["calls"] == 40
    assert "<svg" in (tmp_path / "out" / "demo.html").read_text(encoding="utf-8")


def test_a_base_that_changed_is_an_error() -> None:
    same = [Sample(label, "p", "text", [1, 2]) for label in ("base", "a", "b", "base again")]
    check_base(same, 1)
    with pytest.raises(PocketLoraError, match="expected 'text', found 'other'") as caught:
        check_base([*same[:3], Sample("base again", "p", "other", [1, 3])], 1)
    assert caught.value.status == Status.BACKEND_EXECUTION


def test_missing_examples_are_all_named(tmp_path: Path) -> None:
    arguments = ["demo", "--first", str(tmp_path), "--second", str(tmp_path / "x"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 3
    for name in ("train.jsonl", "valid.jsonl", "x/train.jsonl", "x/valid.jsonl"):
        assert f"{tmp_path}/{name}" in result.stderr
    assert not (tmp_path / "out").exists()
