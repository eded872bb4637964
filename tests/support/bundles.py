"""Bundles of test models: each is made once a session, shared by all test processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

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


def bundle_options(tiny: TinyModel) -> list[str]:
    """The options of `bundle` for a test model."""
    options = {
        "--quant": tiny.quant,
        "--max-seq-len": tiny.max_len,
        "--train-seq-len": tiny.train_len,
        "--max-rank": tiny.max_rank,
        "--target-modules": ",".join(tiny.target_modules),
    }
    if tiny.group_size is not None:
        options["--group-size"] = tiny.group_size
    return [str(part) for pair in options.items() for part in pair]


def bundled(root: Path, tiny: TinyModel) -> Bundled:
    """Make (or find) the bundle of a random model below `root`."""
    place = root / hashlib.sha256(repr(tiny).encode()).hexdigest()[:16]
    made = Bundled(place / "bundle", place / "source", place / "dequantized", tiny)

    def make() -> None:
        write_model(made.source, tiny)
        run_cli("bundle", "-m", made.source, "-o", made.bundle, *bundle_options(tiny))
        run_cli("dequantize", made.bundle, "-o", made.dequantized)

    once(place, make)
    return made


def once(place: Path, make: Callable[[], object]) -> None:
    """Run `make` for a folder unless another process of this session has; the others wait for it."""
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "done").exists():
            make()
            (place / "done").touch()
