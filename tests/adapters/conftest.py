"""A small model as an ordinary Hugging Face folder, and adapters of it that the real peft wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import once
from tests.support.models import MODULES, TinyModel, write_model
from tests.support.oracle import save_random_adapter

PeftMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def model_folder(shared_tmp: Path) -> Path:
    """Two layers, four query heads on two key-value heads, float32, head tied."""
    place = shared_tmp / "adapter-model"
    once(place, lambda: write_model(place / "model", TinyModel()))
    return place / "model"


@pytest.fixture
def make_peft(model_folder: Path, tmp_path: Path) -> PeftMaker:
    """Have peft write a random adapter of the small model; by default rank 4 on all modules."""

    def make(name: str = "peft", seed: int = 1, **config: object) -> Path:
        options = {"r": 4, "lora_alpha": 6, "target_modules": list(MODULES)} | config
        save_random_adapter(model_folder, tmp_path / name, seed, **options)
        return tmp_path / name

    return make
