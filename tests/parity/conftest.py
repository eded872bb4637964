"""Engines and adapters for the parity tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pocketlora_export.runtime.engine import Engine
from tests.support.bundles import Bundled
from tests.support.oracle import save_random_adapter

AdapterMaker = Callable[..., Path]


@pytest.fixture
def peft_adapter(tmp_path: Path) -> AdapterMaker:
    """Have the real peft write a random adapter for a bundle; returns its folder."""

    def make(made: Bundled, seed: int = 1, **config: object) -> Path:
        directory = tmp_path / f"peft-{seed}"
        options = {"r": 4, "lora_alpha": 6, "target_modules": list(made.tiny.target_modules)} | config
        save_random_adapter(made.dequantized, directory, seed, **options)
        return directory

    return make


@pytest.fixture
def open_engine() -> Callable[[Bundled], Engine]:
    """Open a bundle's engine with one thread."""
    return lambda made: Engine(made.bundle, num_threads=1)
