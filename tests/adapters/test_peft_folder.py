"""Reading what an adapter folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pocketlora_export.adapters.lora import BASE_KEY
from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME, read_card
from pocketlora_export.errors import PocketLoraError, Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"]}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    tensors = {"a.lora_A.weight": np.zeros((4, 6), np.float32), "a.lora_B.weight": np.zeros((5, 4), np.float32)}
    save_file(tensors, tmp_path / WEIGHTS_NAME, metadata={BASE_KEY: "ab" * 32})
    return tmp_path


def test_the_card(folder: Path) -> None:
    card = read_card(folder)
    assert (card.rank, card.alpha, card.target_modules) == (4, 8.0, ("q_proj", "v_proj"))
    assert card.num_parameters == 4 * 6 + 5 * 4
    assert card.base_sha256 == "ab" * 32


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PocketLoraError, match=f"{name} is missing") as caught:
        read_card(folder)
    assert caught.value.status == Status.ADAPTER_MISSING_FILE


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
@pytest.mark.parametrize("content", ["", "[]", "\x00" * 40])
def test_a_broken_file_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(PocketLoraError, match=name) as caught:
        read_card(folder)
    assert caught.value.status == Status.ADAPTER_CORRUPT
