"""What a training leaves behind (docs/artifact.md): both commands write the same; verify and loading find changes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.adapters.artifact import METADATA_NAME, METRICS_NAME, Metadata, read_events, read_metadata
from pocketlora_export.adapters.artifact_verify import verify_artifact
from pocketlora_export.adapters.checksums import CHECKSUMS_NAME, WEIGHTS_NAME, read_checksums
from pocketlora_export.adapters.peft_folder import read_card, read_peft
from pocketlora_export.bundle.files import hash_file
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine
from pocketlora_export.runtime.library import find_library
from tests.cli.conftest import Cli, write_rows
from tests.support.bundles import Bundled

FILES = {"README.md", "adapter_config.json", WEIGHTS_NAME, METADATA_NAME, METRICS_NAME, CHECKSUMS_NAME}


@pytest.fixture(scope="module")
def token_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = ({"token_ids": [3 + (7 * i + j * j) % 200 for j in range(8 + i)]} for i in range(6))
    return write_rows(tmp_path_factory.mktemp("rows") / "tokens.jsonl", *rows)


@pytest.fixture(scope="module")
def artifact(call: Cli, tiny_bundle: Bundled, token_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("artifact") / "a"
    arguments = ("--data", token_rows, "--valid", token_rows, "--output", output, "--iters", 5, "--rank", 2)
    result = call("train", tiny_bundle.bundle, *arguments, "--keep-best", "--eval-every", 2, "--verify-base")
    assert result.exit_code == 0, result.output
    return output


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change metadata.json and let checksums.json agree with it."""
    path = folder / METADATA_NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    sums = json.loads((folder / CHECKSUMS_NAME).read_text())
    entry = next(entry for entry in sums["files"] if entry["path"] == METADATA_NAME)
    entry.update(size=path.stat().st_size, sha256=hash_file(path))
    (folder / CHECKSUMS_NAME).write_text(json.dumps(sums))


def test_it_says_what_was_trained_with_and_none_of_the_text(
    artifact: Path, tiny_bundle: Bundled, token_rows: Path
) -> None:
    assert {path.name for path in artifact.iterdir()} == FILES
    found = read_metadata(artifact)
    assert found.base.sha256 == hash_file(tiny_bundle.bundle / "base.ptd")
    assert found.base.tools == json.loads((tiny_bundle.bundle / "manifest.json").read_text())["generator"]
    (train, valid) = found.run.data
    assert (train.role, valid.role) == ("train", "valid")
    assert (train.name, train.sha256) == (token_rows.name, hash_file(token_rows))
    assert (train.rows, train.tokens, train.bytes) == (6, sum(range(8, 14)), token_rows.stat().st_size)
    assert str(token_rows.parent) not in (artifact / METADATA_NAME).read_text()
    assert found.run.base_verified is True
    assert found.training["optimizer"] == "adamw"
    events = read_events(artifact / METRICS_NAME)
    losses = [event["loss"] for event in events if event["event"] == "progress"]
    assert len(losses) == found.metrics.steps == 5
    assert (found.metrics.first_loss, found.metrics.last_loss) == (losses[0], losses[-1])
    validations = [event for event in events if event["event"] == "validation"]
    assert [event["step"] for event in validations] == [0, 2, 4, 5]
    assert found.metrics.best_validation is not None
    best = min(validations, key=lambda event: event["loss"])
    assert (found.metrics.best_validation.step, found.adapter.step) == (best["step"], best["step"])
    assert found.adapter.best


def test_both_commands_write_the_same(call: Cli, tiny_bundle: Bundled, token_rows: Path, tmp_path: Path) -> None:
    program = find_library().parent / "tools" / "pocketlora_run"
    arguments = ["--data", token_rows, "--valid", token_rows, "--iters", 3, "--rank", 2, "--verify-base"]
    arguments += ["--threads", 1]
    command = [program, "train", tiny_bundle.bundle, "--output", tmp_path / "b", *arguments]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    assert call("train", tiny_bundle.bundle, "--output", tmp_path / "a", *arguments[:-2]).exit_code == 0
    (a, b) = (json.loads((tmp_path / name / METADATA_NAME).read_text()) for name in "ab")
    here, there = a.pop("run"), b.pop("run")
    assert a == b
    told = {"tool", "started", "finished"}
    assert (here.keys(), here["options"].keys()) == (there.keys(), there["options"].keys())
    assert {key: here[key] for key in here.keys() - told} == {key: there[key] for key in there.keys() - told}
    assert {here["tool"], there["tool"]} == {"pocketlora-export train", "pocketlora_run train"}
    measured = {"time", "tokens_per_second", "seconds_left", "rss_anon", "rss_file"}
    (here, there) = (
        [{key: event[key] for key in event.keys() - measured} for event in read_events(tmp_path / name / METRICS_NAME)]
        for name in "ab"
    )
    assert here == there
    for name in "ab":
        assert verify_artifact(tmp_path / name, tiny_bundle.bundle).steps == 3
        Metadata.model_validate_json((tmp_path / name / METADATA_NAME).read_text())


def test_a_resumed_run_has_every_step_once(call: Cli, tiny_bundle: Bundled, token_rows: Path, tmp_path: Path) -> None:
    """Stopped after a checkpoint, so that steps are computed again; gone on from by the other command."""
    place = ("--checkpoint-dir", tmp_path / "c", "--checkpoint-every", 2, "--rank", 2, "--data", token_rows)
    begun = call("train", tiny_bundle.bundle, *place, "--output", tmp_path / "a", "--iters", 3)
    assert begun.exit_code == 0, begun.output
    shutil.rmtree(tmp_path / "c" / "step-00000003")
    program = find_library().parent / "tools" / "pocketlora_run"
    command = [program, "train", tiny_bundle.bundle, *place, "--output", tmp_path / "b", "--iters", 6, "--resume"]
    subprocess.run([str(part) for part in [*command, "--threads", 1]], check=True, capture_output=True)
    events = read_events(tmp_path / "b" / METRICS_NAME)
    assert [event["step"] for event in events if event["event"] == "progress"] == [1, 2, 3, 4, 5, 6]
    metadata = read_metadata(tmp_path / "b")
    assert metadata.run.resumed_from == 2
    assert metadata.metrics.first_loss == read_metadata(tmp_path / "a").metrics.first_loss
    verify_artifact(tmp_path / "b")


def test_every_changed_file_is_found(call: Cli, copy: Path, tiny_bundle: Bundled) -> None:
    report = json.loads(call("verify", copy, "--bundle", tiny_bundle.bundle, "--json").stdout)
    assert (report["ok"], report["files"], report["steps"]) == (True, 5, 5)
    (copy / "notes.txt").write_text("mine")
    (copy / "README.md").unlink()
    for name in (WEIGHTS_NAME, METRICS_NAME):
        data = bytearray((copy / name).read_bytes())
        data[-2] ^= 1
        (copy / name).write_bytes(data)
    result = call("verify", copy)
    assert result.exit_code == Status.ADAPTER_MISSING_FILE.exit_code
    told = result.stderr.replace("\n", " ")
    for text in ("README.md: missing", "notes.txt: not listed", f"{WEIGHTS_NAME}: expected SHA-256", METRICS_NAME):
        assert text in told


def test_loading_finds_a_changed_file_and_takes_folders_without_checksums(copy: Path, tiny_bundle: Bundled) -> None:
    data = bytearray((copy / WEIGHTS_NAME).read_bytes())
    data[-1] ^= 1  # a sign: finite, and of the right shape
    (copy / WEIGHTS_NAME).write_bytes(data)
    found = hash_file(copy / WEIGHTS_NAME)
    with Engine(tiny_bundle.bundle, num_threads=1) as engine:
        readers: list[Callable[[Path], object]] = [engine.load_adapter, read_peft, read_card]
        for read in readers:
            with pytest.raises(PocketLoraError, match=f"{WEIGHTS_NAME}: expected SHA-256 .*found {found}") as caught:
                read(copy)
            assert caught.value.status == Status.ADAPTER_CORRUPT
        (copy / CHECKSUMS_NAME).unlink()
        for read in readers:
            read(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("base"), "base: Field required"),
        (lambda d: d["run"]["data"][0].update(sha256="no"), "run.data.0.sha256"),
        (lambda d: d["adapter"].update(rank=7), "adapter.rank: expected 2"),
        (lambda d: d["base"].update(sha256="0" * 64), "base.sha256: expected"),
        (lambda d: d["metrics"].update(steps=9), "expected the steps 1 to 9, each once, found 5 steps"),
        (lambda d: d["run"].update(base_verified=False), "the base was changed"),
    ],
)
def test_metadata_that_is_malformed_or_says_otherwise(
    copy: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edited(copy, change)
    with pytest.raises(PocketLoraError) as caught:
        verify_artifact(copy)
    assert message in str(caught.value)
    assert caught.value.status.exit_code == 5


def test_another_base_does_not_fit(artifact: Path, call: Cli, make_bundle: Any, tiny_bundle: Bundled) -> None:
    result = call("verify", tiny_bundle.bundle, "--bundle", tiny_bundle.bundle)
    assert result.exit_code == 2
    assert "--bundle is for the folder of a training run" in result.stderr.replace("\n", " ")
    result = call("verify", artifact, "--bundle", artifact)
    assert result.exit_code in (4, 5)


def test_a_base_that_changes_meanwhile_is_an_error_and_recorded(
    call: Cli, tiny_bundle: Bundled, token_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle.bundle, tmp_path / "bundle"))
    verify = Engine.verify_base

    def after_a_change(engine: Engine) -> None:
        # The last byte: what nobody reads is as much part of the base as the rest.
        data = bytearray((bundle / "base.ptd").read_bytes())
        data[-1] ^= 1
        (bundle / "base.new").write_bytes(data)
        (bundle / "base.new").replace(bundle / "base.ptd")
        verify(engine)

    monkeypatch.setattr(Engine, "verify_base", after_a_change)
    arguments = ("--data", token_rows, "--output", tmp_path / "a", "--iters", 1, "--rank", 2, "--verify-base")
    result = call("train", bundle, *arguments)
    assert result.exit_code == Status.BUNDLE_CORRUPT.exit_code
    assert "the base has changed while it was trained on" in result.stderr.replace("\n", " ")
    assert read_metadata(tmp_path / "a").run.base_verified is False


def test_an_adapter_saved_over_an_artifact_keeps_nothing_of_it(copy: Path, tiny_bundle: Bundled) -> None:
    with Engine(tiny_bundle.bundle, num_threads=1) as engine, engine.load_adapter(copy) as adapter:
        adapter.save(copy)
        assert {path.name for path in copy.iterdir()} == FILES - {METADATA_NAME, METRICS_NAME, CHECKSUMS_NAME}
        engine.load_adapter(copy).close()


def test_an_imported_artifact_has_no_checksums_of_another_file(call: Cli, artifact: Path, tmp_path: Path) -> None:
    assert call("adapter", "import", artifact, "-o", tmp_path / "b").exit_code == 0
    assert not (tmp_path / "b" / CHECKSUMS_NAME).exists()
    read_peft(tmp_path / "b")
    assert {entry.path for entry in read_checksums(artifact).files} == FILES - {CHECKSUMS_NAME}
