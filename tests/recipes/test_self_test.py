"""The recorded step of a bundle: made with it, repeated on opening, and what follows when it comes out otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pocketlora_export.bundle.manifest import SELF_TEST
from pocketlora_export.bundle.reader import open_bundle
from pocketlora_export.bundle.writer import file_entry, write_manifest
from pocketlora_export.cli.main import cli
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.recipes.self_test import run_all
from pocketlora_export.runtime.engine import Engine, SelfTest, available_delegates
from tests.conftest import BundleFactory
from tests.support.models import TWO_BACKENDS

pytestmark = pytest.mark.skipif(
    "XnnpackBackend" not in available_delegates(), reason="the runtime was built without XNNPACK"
)


@pytest.fixture(scope="session")
def recorded(make_bundle: BundleFactory) -> Path:
    """A bundle with two backends, XNNPACK first, and a recorded step."""
    return make_bundle(TWO_BACKENDS).bundle


def _edited(bundle: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose recorded outcome says something else, hashed as if it had been made so."""
    shutil.copytree(bundle, to)
    record = json.loads((to / SELF_TEST).read_text("utf-8"))
    change(record["outcome"])
    (to / SELF_TEST).write_text(json.dumps(record), "utf-8")
    manifest = open_bundle(bundle).manifest
    files = [file_entry(to, SELF_TEST) if entry.path == SELF_TEST else entry for entry in manifest.files]
    write_manifest(to, manifest.model_copy(update={"files": files}))
    return to


@pytest.fixture
def wrong(recorded: Path, tmp_path: Path) -> Path:
    """A bundle whose programs do not give what is recorded, as on a device with a broken driver."""

    def change(outcome: dict[str, Any]) -> None:
        outcome["loss"] *= 1.01
        outcome["gradient_norms"][1] *= 0.9
        outcome["decode_logits"][3] += outcome["decode_norm"]

    return _edited(recorded, tmp_path / "wrong", change)


def test_every_backend_repeats_the_recorded_step(recorded: Path) -> None:
    assert run_all(recorded) == {"xnnpack": "passed", "cpu": "passed"}
    with Engine(recorded, self_test=SelfTest.ALWAYS) as engine:
        assert (engine.facts.backend, engine.facts.backend_note) == ("xnnpack", "")


def test_a_backend_that_fails_is_passed_over_with_the_reason(wrong: Path) -> None:
    with Engine(wrong) as engine:
        assert engine.facts.backend == "cpu"
        note = engine.facts.backend_note
    assert "'xnnpack'" in note
    assert "'cpu' runs instead" in note
    for part in ("loss: expected", "gradient norm of layer 1", "decode logit 3"):
        assert part in note
    assert "gradient norm of layer 0" not in note


def test_a_backend_that_was_asked_for_is_refused(wrong: Path) -> None:
    with pytest.raises(PocketLoraError, match="fails the bundle's self-test") as caught:
        Engine(wrong, backend="xnnpack")
    assert caught.value.status == Status.BACKEND_SELF_TEST


def test_with_every_backend_tested_none_is_left(wrong: Path) -> None:
    with pytest.raises(PocketLoraError) as caught:
        Engine(wrong, self_test=SelfTest.ALWAYS)
    assert caught.value.status == Status.BACKEND_SELF_TEST


def test_the_test_can_be_left_out(wrong: Path) -> None:
    with Engine(wrong, self_test=SelfTest.NEVER) as engine:
        assert engine.facts.backend == "xnnpack"
        with pytest.raises(PocketLoraError, match="loss"):
            engine.self_test()


def _remembered(state: Path) -> dict[str, Any]:
    (file,) = state.glob("self-test-xnnpack-*.json")
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def test_an_outcome_is_remembered(recorded: Path, tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    with Engine(recorded, state_dir=state) as engine:
        assert engine.facts.backend == "xnnpack"
    assert _remembered(state)["state"] == "passed"


def test_a_remembered_failure_is_not_tried_again(wrong: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        with Engine(wrong, state_dir=state) as engine:
            assert engine.facts.backend == "cpu"
    assert "found earlier; delete" in engine_note(wrong, state)
    (file,) = state.glob("*.json")
    file.unlink()
    assert "found earlier" not in engine_note(wrong, state)


def engine_note(bundle: Path, state: Path) -> str:
    """Why an engine does not run the first backend."""
    with Engine(bundle, state_dir=state) as engine:
        return engine.facts.backend_note


def test_a_test_that_ended_the_process_counts_as_failed(recorded: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Engine(recorded, state_dir=state):
        pass
    (file,) = state.glob("*.json")
    file.write_text(json.dumps(_remembered(state) | {"state": "running"}), "utf-8")
    with Engine(recorded, state_dir=state) as engine:
        assert engine.facts.backend == "cpu"
        assert "did not come to an end" in engine.facts.backend_note


def test_a_remembered_outcome_that_cannot_be_read_is_none(recorded: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Engine(recorded, state_dir=state):
        pass
    (file,) = state.glob("*.json")
    file.write_text("{", "utf-8")
    with Engine(recorded, state_dir=state) as engine:
        assert engine.facts.backend == "xnnpack"
    assert _remembered(state)["state"] == "passed"


def test_a_damaged_record_is_a_damaged_bundle(recorded: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(recorded, tmp_path / "copy")
    (copy / SELF_TEST).write_text("{}", "utf-8")
    with pytest.raises(PocketLoraError, match=SELF_TEST) as caught:
        Engine(copy)
    assert caught.value.status == Status.BUNDLE_CORRUPT


def test_a_bundle_without_a_record_opens_and_says_so_when_asked(recorded: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(recorded, tmp_path / "copy")
    (copy / SELF_TEST).unlink()
    manifest = open_bundle(recorded).manifest
    write_manifest(
        copy, manifest.model_copy(update={"files": [entry for entry in manifest.files if entry.path != SELF_TEST]})
    )
    with Engine(copy, self_test=SelfTest.ALWAYS) as engine:
        assert engine.facts.backend == "xnnpack"
        with pytest.raises(PocketLoraError, match="no recorded step") as caught:
            engine.self_test()
    assert caught.value.status == Status.INVALID_STATE


def test_verify_runs_it(recorded: Path, wrong: Path) -> None:
    good = CliRunner().invoke(cli, ["verify", str(recorded), "--run", "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["self_test"] == {"xnnpack": "passed", "cpu": "passed"}
    bad = CliRunner().invoke(cli, ["verify", str(wrong), "--run"])
    assert bad.exit_code == Status.BACKEND_SELF_TEST.exit_code
    assert "backend 'xnnpack'" in bad.output
    assert "backend 'cpu'" in bad.output
