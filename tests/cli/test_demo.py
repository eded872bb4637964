"""`demo` from the bundle on: two adapters, one live session, the page and the summary."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
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
    write_examples(*folders)
    return folders


def write_examples(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        for name in ("train", "valid"):
            write_rows(folder / f"{name}.jsonl", *({"text": f"{name} {i} {folder.name}"} for i in range(6)))


Demonstrate = Callable[[tuple[Path, Path]], Result]


@pytest.fixture
def demonstrate(tiny_bundle: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demonstrate:
    def make_bundle(model: str, bundle: Path, rank: int) -> float:
        assert (model, rank) == ("some/model", 4)
        # Not a copy: its pages would count as dirty until they are written back.
        bundle.symlink_to(tiny_bundle.bundle)
        return 1.0

    monkeypatch.setattr(demo_module, "_make_bundle", make_bundle)

    def run(examples: tuple[Path, Path]) -> Result:
        arguments = ["-m", "some/model", "--first", examples[0], "--second", examples[1], "-o", tmp_path / "out"]
        small = ["--iters", 20, "--rank", 4, "--max-new-tokens", 8, "--learning-rate", 5e-3, "--threads", 1, "--json"]
        return CliRunner().invoke(cli, ["demo", *map(str, [*arguments, *small])])

    return run


def test_the_demo_measures_and_shows(demonstrate: Demonstrate, examples: tuple[Path, Path], tmp_path: Path) -> None:
    run = demonstrate(examples)
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


def test_examples_of_one_name_keep_their_adapters_apart(demonstrate: Demonstrate, tmp_path: Path) -> None:
    folders = tmp_path / "x" / "notes", tmp_path / "y" / "notes"
    write_examples(*folders)
    run = demonstrate(folders)
    assert run.exit_code == 0, run.output
    adapters = json.loads(run.stdout)["adapters"]
    assert [adapter["name"] for adapter in adapters] == ["notes (A)", "notes (B)"]
    assert [Path(adapter["path"]).name for adapter in adapters] == ["adapter-a-notes", "adapter-b-notes"]
    assert all((Path(adapter["path"]) / WEIGHTS_NAME).is_file() for adapter in adapters)


def test_bundling_that_fails_is_an_error_event(examples: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["-m", tmp_path / "absent", "--first", examples[0], "--second", examples[1], "-o", tmp_path / "out"]
    result = CliRunner().invoke(cli, ["demo", *map(str, arguments), "--json"])
    event = json.loads(result.stdout)
    assert event["event"] == "error"
    assert str(tmp_path / "absent") in event["message"]
    assert result.exit_code == Status(event["code"]).exit_code != 0


@pytest.mark.parametrize(("rank", "expected"), [(16, []), (24, ["--max-rank", "24"])])
def test_a_large_rank_is_passed_to_the_bundling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, expected: list[str]
) -> None:
    commands: list[list[str]] = []

    def ran(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "{}", "")

    monkeypatch.setattr(subprocess, "run", ran)
    demo_module._make_bundle("some/model", tmp_path, rank)
    (command,) = commands
    assert command[command.index("--json") + 1 :] == expected
