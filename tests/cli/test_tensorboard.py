"""Metrics for TensorBoard, read back by TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.adapters.artifact import METRICS_NAME, read_events
from pocketlora_export.report.tensorboard import TensorBoardWriter
from tests.cli.conftest import Cli
from tests.support.bundles import Bundled


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: tag -> (step, value)."""
    loading: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = loading.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_live_and_converted_metrics_are_those_of_the_run(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    arguments = ("--data", text_rows, "--valid", text_rows, "--output", tmp_path / "a", "--iters", 3, "--rank", 2)
    result = call("train", tiny_bundle.bundle, *arguments, "--tensorboard", tmp_path / "live")
    assert result.exit_code == 0, result.output
    done = call("report", "tensorboard", tmp_path / "a", "-o", tmp_path / "later", "--json")
    assert json.loads(done.stdout)["events"] == 5
    events = read_events(tmp_path / "a" / METRICS_NAME)
    for folder in ("live", "later"):
        found = scalars(tmp_path / folder)
        for kind, tag in (("progress", "train/loss"), ("validation", "held_out/perplexity")):
            told = [(e["step"], e[tag.partition("/")[2]]) for e in events if e["event"] == kind]
            assert [step for step, _ in found[tag]] == [step for step, _ in told]
            # TensorBoard's numbers are float32.
            assert [value for _, value in found[tag]] == pytest.approx([value for _, value in told], rel=2**-23)
        assert {"train/grad_norm", "train/learning_rate", "train/tokens_per_second"} <= found.keys()
        assert not any(tag.endswith(("/step", "/time", "/v", "/improved")) for tag in found)
    refused = call("report", "tensorboard", tmp_path / "a", "-o", tmp_path / "later")
    assert refused.exit_code == 2
    assert "expected a new or empty folder" in refused.stderr.replace("\n", " ")


def test_steps_that_were_given_up_are_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    event = {"event": "progress", "time": 1.0, "loss": 1.0}
    with TensorBoardWriter(tmp_path) as writer:
        writer.add_all(event | {"step": step} for step in (1, 2, 3))
        writer.restart(3)
        writer.add(event | {"step": 3, "loss": 2.0, "grad_norm": None})
    assert scalars(tmp_path) == {"train/loss": [(1, 1.0), (2, 1.0), (3, 2.0)]}


def test_without_the_package_the_extra_is_named(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    arguments = ("--data", text_rows, "--output", tmp_path / "a", "--iters", 1, "--tensorboard", tmp_path / "t")
    result = call("train", tiny_bundle.bundle, *arguments)
    assert result.exit_code == 8
    assert "pip install 'pocketlora-export[tensorboard]'" in result.stderr.replace("\n", " ")
    assert not (tmp_path / "a").exists()
