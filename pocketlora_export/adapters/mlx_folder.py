"""MLX-LM's adapter folder: adapters.safetensors with transposed matrices, and a config of its own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pocketlora_export.adapters.lora import BASE_KEY, LoraAdapter, LoraSite, most_common, not_finite
from pocketlora_export.adapters.lora_config import CONFIG_NAME, MAX_FLOAT32, read_document
from pocketlora_export.adapters.module_names import by_layer, in_layer, shortest_targets
from pocketlora_export.adapters.raw_tensors import STORAGE, Header, RawTensor, from_float32, read_tensors, write_tensors
from pocketlora_export.bundle.files import HashingFile
from pocketlora_export.errors import PocketLoraError, Status, raise_all

WEIGHTS_NAME = "adapters.safetensors"
_KEY = re.compile(r"(?P<site>.+)\.(?P<matrix>lora_a|lora_b)")


def read_mlx(folder: Path) -> LoraAdapter:
    """Read an MLX-LM folder and check it against itself.

    Raises:
        PocketLoraError: ADAPTER_MISSING_FILE or ADAPTER_CORRUPT for its files and config; ADAPTER_UNSUPPORTED for DoRA
            and full fine-tuning; ADAPTER_MISMATCH with every tensor that is missing, unexpected or of a wrong shape.
    """
    path = folder / WEIGHTS_NAME
    document = read_document(folder / CONFIG_NAME)
    rank, scale, dropout = _parameters(document, folder / CONFIG_NAME)
    tensors, header = read_tensors(path)
    pairs = _pairs(header, path, rank)
    raise_all(
        Status.ADAPTER_CORRUPT,
        f"{path}: values that are not finite",
        (line for name, tensor in tensors.items() for line in not_finite(name, tensor)),
    )
    sites = {
        site: LoraSite(tensors[f"{site}.lora_a"].T, tensors[f"{site}.lora_b"].T, scale * rank, scale) for site in pairs
    }
    model = document.get("model")
    return LoraAdapter(
        sites, dropout, base_model=model if isinstance(model, str) else None, base_sha256=header.metadata.get(BASE_KEY)
    )


def _parameters(document: Mapping[str, Any], path: Path) -> tuple[int, float, float]:
    """Rank, scale and dropout of a config."""
    kind = document.get("fine_tune_type", "lora")
    if kind != "lora":
        message = f"{path}: the adapter uses what is not supported\n  - fine_tune_type {kind!r}, expected 'lora'"
        raise PocketLoraError(Status.ADAPTER_UNSUPPORTED, message)
    found = document.get("lora_parameters")
    parameters: Mapping[str, Any] = found if isinstance(found, dict) else {}
    rank, scale, dropout = parameters.get("rank"), parameters.get("scale"), parameters.get("dropout", 0.0)
    problems = [
        f"lora_parameters.{name}: expected {expected}, found {json.dumps(value)}"
        for name, expected, value, fine in (
            ("rank", "an integer from 1", rank, isinstance(rank, int) and not isinstance(rank, bool) and rank > 0),
            ("scale", "a number that fits in 32 bits", scale, _is_number(scale) and abs(scale or 0) <= MAX_FLOAT32),
            ("dropout", "[0, 1)", dropout, _is_number(dropout) and 0 <= dropout < 1),
        )
        if not fine
    ]
    raise_all(Status.ADAPTER_CORRUPT, f"{path}: not a valid {CONFIG_NAME} of MLX-LM", problems)
    return int(rank or 0), float(scale or 0), float(dropout)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pairs(header: Header, path: Path, rank: int) -> list[str]:
    """The sites, sorted by layer, once every tensor is in order."""
    problems = []
    sites: dict[str, None] = {}
    for key, (dtype, shape) in header.tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            problems.append(f"{key}: expected <module>.lora_a or <module>.lora_b")
            continue
        sites[match["site"]] = None
        expected = f"[in_features, {rank}]" if match["matrix"] == "lora_a" else f"[{rank}, out_features]"
        if len(shape) != 2 or shape[match["matrix"] == "lora_a"] != rank or 0 in shape:
            problems.append(f"{key}: expected shape {expected}, found {list(shape)}")
        if dtype not in STORAGE:
            problems.append(f"{key}: expected dtype {', '.join(STORAGE)}, found {dtype}")
    missing = [key for site in sites for key in (f"{site}.lora_a", f"{site}.lora_b") if key not in header.tensors]
    problems += [f"{key}: missing" for key in missing]
    problems += [] if sites else ["no LoRA matrices in it"]
    raise_all(Status.ADAPTER_MISMATCH, f"{path}: the tensors do not fit {CONFIG_NAME}", problems)
    return by_layer(sites)


def write_mlx(adapter: LoraAdapter, folder: Path) -> list[str]:
    """Write a new folder that MLX-LM loads, and fsync its files.

    MLX-LM has one rank and one scale for all modules. Where they differ, smaller ranks are filled up with zeros and
    lora_b takes the difference of the scales, in float32. Returns a line for each such change.
    """
    rank = max(site.rank for site in adapter.sites.values())
    scale = most_common(site.scale for site in adapter.sites.values() if site.scale or not _has_scale(adapter))
    tensors, changes = {}, []
    for name, site in adapter.sites.items():
        tensors[f"{name}.lora_a"] = _filled(site.a, rank, 0).T
        tensors[f"{name}.lora_b"] = _filled(_scaled(site, scale), rank, 1).T
        if site.rank != rank:
            changes.append(f"{name}: rank {site.rank} was filled up with zeros to {rank}")
        if site.scale != scale:
            changes.append(f"{name}: scale {site.scale:g} was folded into lora_b, so that {scale:g} serves all")
    folder.mkdir()
    with HashingFile(folder / CONFIG_NAME) as file:
        file.write((json.dumps(_document(adapter, rank, scale), indent=4) + "\n").encode())
    metadata = {BASE_KEY: adapter.base_sha256} if adapter.base_sha256 else {}
    write_tensors(folder / WEIGHTS_NAME, tensors, metadata)
    return changes


def _has_scale(adapter: LoraAdapter) -> bool:
    return any(site.scale for site in adapter.sites.values())


def _scaled(site: LoraSite, scale: float) -> RawTensor:
    """B of a site for a product that counts `scale` times."""
    if site.scale == scale:
        return site.b
    return from_float32(site.b.float32() * np.float32(site.scale / scale))


def _filled(tensor: RawTensor, rank: int, axis: int) -> RawTensor:
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, rank - tensor.shape[axis])
    return RawTensor(tensor.dtype, np.pad(tensor.data, widths))


def _document(adapter: LoraAdapter, rank: int, scale: float) -> dict[str, Any]:
    modules, layers = shortest_targets(list(adapter.sites))
    # MLX-LM takes names within a layer for its last `num_layers` layers (-1: all), and whole names wherever they are.
    every_layer = layers is not None and layers == list(range(len(layers)))
    return {
        "model": adapter.base_model,
        "fine_tune_type": "lora",
        "num_layers": -1,
        "lora_parameters": {
            "rank": rank,
            "scale": scale,
            "dropout": adapter.dropout,
            "keys": [in_layer(module) for module in modules] if every_layer else list(adapter.sites),
        },
    }
