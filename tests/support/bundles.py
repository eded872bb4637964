"""Bundles of test models: each is made once a session, shared by all test processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import yaml
from filelock import FileLock

from pocketlora_export.bundle.dequantize import dequantize_bundle
from pocketlora_export.lower.stages import train_stages
from pocketlora_export.recipes.build import build_bundle
from pocketlora_export.recipes.recipe import Recipe
from tests.support.models import TinyModel, write_model


@dataclass(frozen=True)
class Bundled:
    """A bundle, the model that it was made from, and its base as an ordinary Hugging Face folder in float32."""

    bundle: Path
    source: Path
    dequantized: Path
    tiny: TinyModel


def run_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m pocketlora_export` in a process of its own; fail with its stderr."""
    command = [sys.executable, "-m", "pocketlora_export", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def recipe_of(tiny: TinyModel) -> dict[str, object]:
    """The recipe of a test model."""
    return {
        "quant": {"scheme": tiny.quant, "group_size": tiny.group_size},
        "max_seq_len": tiny.max_len,
        "train_seq_len": tiny.train_len,
        "prefill_seq_len": tiny.prefill_len,
        "max_rank": tiny.max_rank,
        "backends": list(tiny.backends),
        "target_modules": list(tiny.target_modules),
    }


def bundled(root: Path, tiny: TinyModel, by_command: bool = False) -> Bundled:
    """Make (or find) the bundle of a random model below `root`, with its recipe as recipe.yaml beside it.

    `by_command`: with the commands, each in a process of its own, rather than here: two starts of PyTorch more.
    """
    place = root / hashlib.sha256(repr(tiny).encode()).hexdigest()[:16]
    made = Bundled(place / "bundle", place / "source", place / "dequantized", tiny)

    def make() -> None:
        write_model(made.source, tiny)
        recipe = place / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(recipe_of(tiny)))
        if by_command:
            run_cli("bundle", "-m", made.source, "-o", made.bundle, "--recipe", recipe)
            run_cli("dequantize", made.bundle, "-o", made.dequantized)
        else:
            recorded = len(tiny.backends) > 1  # a self-test is there to choose between them
            stages = partial(train_stages, keeping=tiny.keeps_products)
            with mock.patch("pocketlora_export.lower.model.train_stages", stages):
                build_bundle(str(made.source), made.bundle, Recipe.model_validate(recipe_of(tiny)), self_test=recorded)
            dequantize_bundle(made.bundle, made.dequantized)

    once(place, make)
    return made


def once(place: Path, make: Callable[[], object]) -> None:
    """Run `make` for a folder unless another process of this session has; the others wait for it."""
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "done").exists():
            make()
            (place / "done").touch()
