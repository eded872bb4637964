"""The plan, from config.json alone, against lowered programs and against what the runtime takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plan_check import machine
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.plan.arena import PAGE, arena_bound, live_bound
from pocketlora_export.plan.config import open_config
from pocketlora_export.plan.estimate import Estimate, Training, training
from pocketlora_export.plan.model import PlannedModel
from pocketlora_export.recipes.plan import plan_model
from pocketlora_export.recipes.recipe import Recipe
from tests.support.bundles import Bundled

EXACT = ("arena", "block_inputs", "adapter", "gradients", "optimizer", "scratch")


def planned(model: Path) -> PlannedModel:
    """What the plan knows of a model."""
    config, name = open_config(str(model / "config.json"))
    return plan_model(config, name, Recipe())


def probe(bundle: Path, repository: Path, *arguments: object) -> dict[str, Any]:
    """A training step in a process of its own, with one thread."""
    command = [sys.executable, "-m", "benchmarks.train_probe", str(bundle), "--steps", "1", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert done.returncode == 0, done.stderr
    memory: dict[str, Any] = json.loads(done.stdout)["memory"]
    return memory


def check_arenas(model: PlannedModel, bundle: Path) -> None:
    """ExecuTorch's plan of every method is as large as what is alive at once."""
    manifest = read_manifest(bundle).manifest
    limits = manifest.limits
    others = {"S1": limits.max_segments + 1, "C": limits.max_seq_len, "R": limits.max_rank, "K": 4096}
    for program, traced in zip(manifest.programs, (model.train, model.infer), strict=True):
        methods = {method.name: method for method in program.methods}
        assert set(methods) == {stage.name for stage in traced.traces}
        for stage in traced.traces:
            method = methods[stage.name]
            assert live_bound(stage, {**others, "N": method.t_max}) == method.arena_bytes, stage.name


def check_parts(estimate: Estimate, memory: dict[str, Any]) -> None:
    """What follows from shapes is exact; what does not is near."""
    assert {part: estimate.parts[part] for part in EXACT} == {part: memory[part] for part in EXACT}
    assert abs(estimate.other - memory["other"]) < 50_000


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Bundled) -> PlannedModel:
    return planned(tiny_bundle.source)


@pytest.fixture(scope="module")
def shipped(repository: Path) -> PlannedModel:
    return planned(repository / "models" / "pocket-llama-4m")


def test_arenas_of_the_tiny_model(tiny: PlannedModel, tiny_bundle: Bundled) -> None:
    check_arenas(tiny, tiny_bundle.bundle)


def test_arenas_of_the_shipped_model(shipped: PlannedModel, shipped_bundle: Path) -> None:
    check_arenas(shipped, shipped_bundle)


def test_an_arena_grows_with_the_rows(tiny: PlannedModel) -> None:
    extents = {"S1": 2, "C": 96, "R": 8, "K": 192}
    arenas = [arena_bound(tiny.train.traces, {**extents, "N": rows}) for rows in (1, 64, 1024)]
    assert all(arena % PAGE == 0 for arena in arenas)
    assert 15 * arenas[1] < arenas[2] <= 16 * arenas[1]
    assert arenas[0] < arenas[1] / 32


@pytest.mark.parametrize("rank", [8, 3])
def test_training_of_the_tiny_model(tiny: PlannedModel, tiny_bundle: Bundled, repository: Path, rank: int) -> None:
    rows = tiny_bundle.tiny.train_len
    estimate = training(tiny, Training(rows, rank=rank), machine(1))
    check_parts(estimate, probe(tiny_bundle.bundle, repository, "--rank", rank))


def test_training_of_the_shipped_model(shipped: PlannedModel, shipped_bundle: Path, repository: Path) -> None:
    estimate = training(shipped, Training(256, rank=16), machine(1))
    check_parts(estimate, probe(shipped_bundle, repository))
