"""PEFT's adapter folder: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlora_export.adapters import checksums
from pocketlora_export.adapters.checksums import check_adapter_files
from pocketlora_export.adapters.lora import BASE_KEY, LoraAdapter, LoraSite, not_finite
from pocketlora_export.adapters.lora_config import (
    CONFIG_NAME,
    LoraConfig,
    SiteConfig,
    parse_config,
    read_document,
    resolve,
)
from pocketlora_export.adapters.module_names import by_layer, is_plain_key, shortest_targets
from pocketlora_export.adapters.raw_tensors import STORAGE, Header, RawTensor, read_header, read_tensors, write_tensors
from pocketlora_export.bundle.files import HashingFile
from pocketlora_export.errors import PocketLoraError, Status, raise_all

WEIGHTS_NAME = checksums.WEIGHTS_NAME
PICKLED_NAME = "adapter_model.bin"
# A state dict that was saved by hand still has the adapter's name in its keys.
_LORA_KEY = re.compile(r"base_model\.model\.(?P<site>.+)\.lora_(?P<matrix>[AB])(?:\.default)?\.weight")
_UNSUPPORTED_KEYS = {
    ".lora_embedding_": "an adapter of an embedding",
    ".lora_magnitude_vector": "a magnitude of DoRA",
    ".modules_to_save": "a fully trained module",
    ".base_layer": "a weight of the base",
    ".bias": "a bias",
}


@dataclass(frozen=True)
class AdapterCard:
    """Facts of an adapter folder. `base_sha256` is None for adapters made elsewhere."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    num_parameters: int
    base_sha256: str | None


def read_card(folder: Path) -> AdapterCard:
    """Read an adapter folder's config and the header of its weights, held to its checksums.json where it has one.

    Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT naming the file.
    """
    check_adapter_files(folder)
    document = read_document(folder / CONFIG_NAME)
    header = read_header(folder / WEIGHTS_NAME)
    modules = document.get("target_modules")
    return AdapterCard(
        rank=int(document.get("r", 0)),
        alpha=float(document.get("lora_alpha", 0)),
        target_modules=tuple(sorted(modules)) if isinstance(modules, list) else (str(modules),),
        num_parameters=sum(math.prod(shape) for _, shape in header.tensors.values()),
        base_sha256=header.metadata.get(BASE_KEY),
    )


@dataclass(frozen=True)
class PeftFolder:
    """An adapter, and the config file that it came with, which may say more than the adapter."""

    adapter: LoraAdapter
    config: LoraConfig
    document: dict[str, Any]


def read_peft(folder: Path, *, checked: bool = True) -> PeftFolder:
    """Read a PEFT folder and check it against itself, and first against its checksums.json where it has one.

    Args:
        folder: the folder.
        checked: False = checksums.json is the caller's business.

    Raises:
        PocketLoraError: what `check_adapter_files`, `parse_config` and `resolve` raise; ADAPTER_MISSING_FILE or
            ADAPTER_CORRUPT for its files; ADAPTER_MISMATCH with every tensor that is missing, unexpected or of another
            shape than the config says.
    """
    _refuse_pickled(folder)
    if checked:
        check_adapter_files(folder)
    path = folder / WEIGHTS_NAME
    document = read_document(folder / CONFIG_NAME)
    config = parse_config(document, folder / CONFIG_NAME)
    tensors, header = read_tensors(path)
    pairs = _pairs(header, path)
    sites = by_layer(pairs)
    resolved = resolve(config, sites, folder / CONFIG_NAME)
    problems = [line for site in sites for line in _site_problems(header, pairs[site], resolved.get(site))]
    raise_all(Status.ADAPTER_MISMATCH, f"{path}: the tensors do not fit {CONFIG_NAME}", problems)
    raise_all(
        Status.ADAPTER_CORRUPT,
        f"{path}: values that are not finite",
        (line for name, tensor in tensors.items() for line in not_finite(name, tensor)),
    )
    adapter = LoraAdapter(
        {site: _site(tensors, pairs[site], resolved[site]) for site in sites},
        dropout=config.dropout,
        use_rslora=config.use_rslora,
        base_model=str(document.get("base_model_name_or_path") or "") or None,
        base_sha256=header.metadata.get(BASE_KEY),
    )
    return PeftFolder(adapter, config, document)


def _refuse_pickled(folder: Path) -> None:
    if (folder / PICKLED_NAME).is_file() and not (folder / WEIGHTS_NAME).is_file():
        raise PocketLoraError(
            Status.ADAPTER_UNSUPPORTED,
            f"{folder / PICKLED_NAME}: a pickle can run code when it is read; save the adapter as {WEIGHTS_NAME} first",
        )


def _pairs(header: Header, path: Path) -> dict[str, dict[str, str]]:
    """Site -> matrix ("A", "B") -> key in the file. Every key must be one of these."""
    pairs: dict[str, dict[str, str]] = {}
    unsupported, unknown = [], []
    for key in header.tensors:
        match = _LORA_KEY.fullmatch(key)
        what = next((what for part, what in _UNSUPPORTED_KEYS.items() if part in key), None)
        if match is not None and what is None:
            pairs.setdefault(match["site"], {})[match["matrix"]] = key
        elif what is not None:
            unsupported.append(f"{key} ({what})")
        else:
            unknown.append(f"{key}: expected base_model.model.<module>.lora_A.weight or .lora_B.weight")
    raise_all(Status.ADAPTER_UNSUPPORTED, f"{path}: the adapter uses what is not supported", unsupported)
    raise_all(Status.ADAPTER_MISMATCH, f"{path}: tensors that are not LoRA matrices", unknown)
    if not pairs:
        raise PocketLoraError(Status.ADAPTER_MISMATCH, f"{path}: no LoRA matrices in it")
    return pairs


def _site_problems(header: Header, keys: Mapping[str, str], config: SiteConfig | None) -> list[str]:
    if config is None:
        return [f"{key}: {CONFIG_NAME} does not name its module as a target" for key in keys.values()]
    problems = [
        f"{keys[other].replace(f'lora_{other}', f'lora_{matrix}')}: missing"
        for matrix, other in (("A", "B"), ("B", "A"))
        if matrix not in keys
    ]
    for matrix, key in keys.items():
        dtype, shape = header.tensors[key]
        expected = f"[{config.rank}, in_features]" if matrix == "A" else f"[out_features, {config.rank}]"
        if len(shape) != 2 or shape[matrix == "B"] != config.rank or 0 in shape:
            problems.append(f"{key}: expected shape {expected}, found {list(shape)}")
        if dtype not in STORAGE:
            problems.append(f"{key}: expected dtype {', '.join(STORAGE)}, found {dtype}")
    return problems


def _site(tensors: Mapping[str, RawTensor], keys: Mapping[str, str], config: SiteConfig) -> LoraSite:
    return LoraSite(tensors[keys["A"]], tensors[keys["B"]], config.alpha, config.scale)


def write_peft(adapter: LoraAdapter, folder: Path, document: Mapping[str, Any] | None = None) -> None:
    """Write a new folder that PEFT and the runtime load, and fsync its files.

    Args:
        adapter: what to write; its tensors keep their dtypes.
        folder: made here.
        document: the config that the adapter came with: kept, but for what the runtime cannot read.
    """
    folder.mkdir()
    config = _new_document(adapter) if document is None else _readable_document(adapter, document)
    with HashingFile(folder / CONFIG_NAME) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())
    tensors = {}
    for name, site in adapter.sites.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = site.a
        tensors[f"base_model.model.{name}.lora_B.weight"] = site.b
    metadata = {"format": "pt"} | ({BASE_KEY: adapter.base_sha256} if adapter.base_sha256 else {})
    write_tensors(folder / WEIGHTS_NAME, tensors, metadata)


def _new_document(adapter: LoraAdapter) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base_model,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": _number(adapter.alpha),
        "lora_dropout": adapter.dropout,
        **_target_fields(adapter),
        **_pattern_fields(adapter, adapter.rank, adapter.alpha),
        "use_rslora": adapter.use_rslora,
        "use_dora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _readable_document(adapter: LoraAdapter, document: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose regular expressions are replaced by the names that they stand for."""
    config = dict(document)
    if any(isinstance(document.get(field), str) for field in ("target_modules", "exclude_modules")):
        config |= _target_fields(adapter) | {"exclude_modules": None}
    keys = [key for field in ("rank_pattern", "alpha_pattern") for key in document.get(field) or {}]
    if not all(map(is_plain_key, keys)):
        config |= _pattern_fields(adapter, document["r"], document["lora_alpha"])
    return config


def _target_fields(adapter: LoraAdapter) -> dict[str, Any]:
    modules, layers = shortest_targets(list(adapter.sites))
    return {"target_modules": modules, "layers_to_transform": layers}


def _pattern_fields(adapter: LoraAdapter, rank: int, alpha: float) -> dict[str, Any]:
    sites = adapter.sites.items()
    return {
        "rank_pattern": {name: site.rank for name, site in sites if site.rank != rank},
        "alpha_pattern": {name: _number(site.alpha) for name, site in sites if site.alpha != alpha},
    }


def _number(value: float) -> float:
    """32, not 32.0, as PEFT writes it."""
    return int(value) if value == int(value) else value
