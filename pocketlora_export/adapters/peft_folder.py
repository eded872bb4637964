"""What a PEFT folder says of itself, for messages and reports. Whether it fits a bundle is the runtime's to check."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pocketlora_export.errors import PocketLoraError, Status

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
BASE_KEY = "pocketlora.base_sha256"


@dataclass(frozen=True)
class AdapterCard:
    """Facts of an adapter folder. `base_sha256` is None for adapters made elsewhere."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    num_parameters: int
    base_sha256: str | None


def read_card(folder: Path) -> AdapterCard:
    """Read an adapter folder's config and the header of its weights.

    Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT naming the file.
    """
    config = _config(folder)
    modules = config.get("target_modules")
    shapes, metadata = _header(folder / WEIGHTS_NAME)
    return AdapterCard(
        rank=int(config.get("r", 0)),
        alpha=float(config.get("lora_alpha", 0)),
        target_modules=tuple(sorted(modules)) if isinstance(modules, list) else (str(modules),),
        num_parameters=sum(map(math.prod, shapes)),
        base_sha256=metadata.get(BASE_KEY),
    )


def _config(folder: Path) -> dict[str, Any]:
    path = _existing(folder / CONFIG_NAME)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: expected a JSON object")
    return config


def _header(path: Path) -> tuple[list[list[int]], dict[str, str]]:
    """Shapes of all tensors and the file's metadata."""
    try:
        with safe_open(str(_existing(path)), framework="np") as file:
            names = file.keys()
            return [file.get_slice(name).get_shape() for name in names], file.metadata() or {}
    except SafetensorError as error:
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: not a safetensors file: {error}") from None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{path} is missing; expected a PEFT adapter folder")
    return path
