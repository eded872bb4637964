"""GGUF: the one file that llama.cpp loads as an adapter. Written and read back with the gguf package."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.adapters.lora import BASE_KEY, LoraAdapter, LoraSite, most_common
from pocketlora_export.bundle.files import sync
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.errors import PocketLoraError, Status, raise_all

Float32Array = NDArray[np.float32]
CONFIG = "config.json"


@dataclass(frozen=True)
class Architecture:
    """A model architecture of llama.cpp. `interleaved`: it rotates neighbours, so rows of q and k are reordered."""

    name: str
    interleaved: bool = False


# Hugging Face's name -> llama.cpp's, as its converter has them.
ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", interleaved=True),
    "MistralForCausalLM": Architecture("llama", interleaved=True),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
    "GemmaForCausalLM": Architecture("gemma"),
    "Gemma2ForCausalLM": Architecture("gemma2"),
    "Gemma3ForCausalLM": Architecture("gemma3"),
    "Phi3ForCausalLM": Architecture("phi3"),
    "PhiForCausalLM": Architecture("phi2"),
    "OlmoForCausalLM": Architecture("olmo", interleaved=True),
    "Olmo2ForCausalLM": Architecture("olmo2"),
    "GraniteForCausalLM": Architecture("granite", interleaved=True),
    "SmolLM3ForCausalLM": Architecture("smollm3", interleaved=True),
}


@dataclass(frozen=True)
class BaseFacts:
    """What a conversion must know of the base model."""

    architecture: str
    num_layers: int
    num_heads: int
    num_kv_heads: int
    tied_head: bool


def facts_of_bundle(bundle: Path) -> BaseFacts:
    """From a bundle's manifest. Raises what `read_manifest` raises."""
    model = read_manifest(bundle).manifest.model
    return BaseFacts(
        model.architecture, model.num_layers, model.num_heads, model.num_kv_heads, model.tie_word_embeddings
    )


def facts_of_model(folder: Path) -> BaseFacts:
    """From the config.json of a Hugging Face folder. Raises INPUT_MISSING or INPUT_MALFORMED naming the keys."""
    path = folder / CONFIG
    if not path.is_file():
        raise PocketLoraError(Status.INPUT_MISSING, f"{path}: missing; expected a Hugging Face model folder")
    try:
        config = json.loads(path.read_text("utf-8"))
        architecture = str(config["architectures"][0])
        numbers = [int(config[key]) for key in ("num_hidden_layers", "num_attention_heads")]
        kv_heads = int(config.get("num_key_value_heads") or numbers[1])
        return BaseFacts(architecture, numbers[0], numbers[1], kv_heads, bool(config.get("tie_word_embeddings", False)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        message = f"{path}: expected architectures, num_hidden_layers and num_attention_heads; {error!r}"
        raise PocketLoraError(Status.INPUT_MALFORMED, message) from None


def gguf_package() -> Any:
    """The gguf package. Raises INVALID_ARGUMENT saying how to install it."""
    try:
        # It announces the byte order of every file.
        logging.getLogger("gguf.gguf_writer").setLevel(logging.WARNING)
        return importlib.import_module("gguf")
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        message = "the gguf package is not installed, and writing GGUF needs it: pip install 'pocketlora-export[gguf]'"
        raise PocketLoraError(Status.INVALID_ARGUMENT, message) from None


@dataclass(frozen=True)
class GgufAdapter:
    """What the file says: alpha of all modules, and float32 matrices under llama.cpp's names."""

    architecture: str
    alpha: float
    tensors: dict[str, Float32Array]
    base_sha256: str | None


def to_gguf(adapter: LoraAdapter, base: BaseFacts) -> GgufAdapter:
    """Rename, reorder and scale as llama.cpp needs it.

    llama.cpp computes alpha / rank for each module from one alpha. Where a module's scale times its rank is another
    (rank-stabilized LoRA with several ranks, an alpha of its own), lora_b takes the difference.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED for an architecture without a row in ARCHITECTURES; ADAPTER_MISMATCH with
            every module that the architecture does not have.
    """
    architecture = ARCHITECTURES.get(base.architecture)
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        message = f"{base.architecture}: no GGUF names are known for this architecture; known: {known}"
        raise PocketLoraError(Status.INPUT_UNSUPPORTED, message)
    names = _names(adapter, architecture, base)
    alpha = _shared_alpha(adapter)
    tensors: dict[str, Float32Array] = {}
    for site_name, site in adapter.sites.items():
        name = names[site_name]
        tensors[f"{name}.lora_a"] = site.a.float32()
        tensors[f"{name}.lora_b"] = _b_of(site, alpha, _heads(site_name, architecture, base))
    return GgufAdapter(architecture.name, alpha, tensors, adapter.base_sha256)


def _names(adapter: LoraAdapter, architecture: Architecture, base: BaseFacts) -> dict[str, str]:
    gguf = gguf_package()
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture.name)
    table = gguf.get_tensor_name_map(arch, base.num_layers)
    names = {site: table.get_name(f"{site}.weight", try_suffixes=(".weight",)) for site in adapter.sites}
    problems = [f"{site}: {base.architecture} has no such layer" for site, name in names.items() if name is None]
    if base.tied_head:
        heads_of = [site for site, name in names.items() if name == "output.weight"]
        problems += [f"{site}: the head is tied to the embedding" for site in heads_of]
    for site, found in adapter.sites.items():
        heads = _heads(site, architecture, base)
        if heads is not None and found.b.shape[0] % (2 * heads) != 0:
            problems.append(f"{site}: {found.b.shape[0]} rows are not {heads} heads of an even size")
    raise_all(Status.ADAPTER_MISMATCH, "the adapter does not fit this base model", problems)
    return names


def _heads(site: str, architecture: Architecture, base: BaseFacts) -> int | None:
    """Heads whose rows are reordered; None for all other layers."""
    if not architecture.interleaved:
        return None
    return {"q_proj": base.num_heads, "k_proj": base.num_kv_heads}.get(site.rpartition(".")[2])


def _shared_alpha(adapter: LoraAdapter) -> float:
    """scale · rank of most modules. llama.cpp takes 0 for "no scaling", so it is never that."""
    alphas = [alpha for site in adapter.sites.values() if (alpha := _alpha_of(site))]
    return most_common(alphas) if alphas else 1.0


def _alpha_of(site: LoraSite) -> float:
    # Rounded to what the file holds, so that equal scales compare equal.
    return float(np.float32(site.scale * site.rank))


def _b_of(site: LoraSite, alpha: float, heads: int | None) -> Float32Array:
    b = site.b.float32()
    if _alpha_of(site) != alpha:
        b = b * np.float32(_alpha_of(site) / alpha)
    return b if heads is None else interleave(b, heads)


def interleave(rows: Float32Array, heads: int) -> Float32Array:
    """Reorder [heads · D, r] from halves (Hugging Face: i and i + D/2 rotate together) to neighbours (llama.cpp)."""
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, 2, half, rows.shape[1])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


def write_gguf(adapter: GgufAdapter, path: Path) -> None:
    """Write a new file, fsync it, read it back and compare. Raises IO_WRITE when it holds anything else."""
    gguf = gguf_package()
    writer = gguf.GGUFWriter(path, adapter.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter.alpha)
    if adapter.base_sha256 is not None:
        writer.add_string(BASE_KEY, adapter.base_sha256)
    for name, values in adapter.tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    sync(path)
    if not _same(read_gguf(path), adapter):
        raise PocketLoraError(Status.IO_WRITE, f"{path}: the file does not hold what was written to it")


def read_gguf(path: Path) -> GgufAdapter:
    """Read an adapter file. Raises ADAPTER_CORRUPT when it is none."""
    gguf = gguf_package()
    try:
        reader = gguf.GGUFReader(path)
    except ValueError as error:
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: not a GGUF file: {error}") from None
    fields = {name: field.contents() for name, field in reader.fields.items()}
    expected = {gguf.Keys.General.TYPE: gguf.GGUFType.ADAPTER, gguf.Keys.Adapter.TYPE: "lora"}
    raise_all(
        Status.ADAPTER_CORRUPT,
        f"{path}: not a LoRA adapter",
        (
            f"{key}: expected {want}, found {fields.get(key)}"
            for key, want in expected.items()
            if fields.get(key) != want
        ),
    )
    # Copies: the reader's own arrays lie in its mapping of the file.
    tensors = {tensor.name: np.array(tensor.data, dtype=np.float32) for tensor in reader.tensors}
    return GgufAdapter(
        str(fields[gguf.Keys.General.ARCHITECTURE]),
        float(fields.get(gguf.Keys.Adapter.LORA_ALPHA, 0.0)),
        tensors,
        fields.get(BASE_KEY),
    )


def _same(found: GgufAdapter, expected: GgufAdapter) -> bool:
    facts = (found.architecture, found.alpha, found.base_sha256)
    return facts == (expected.architecture, expected.alpha, expected.base_sha256) and _same_tensors(
        found.tensors, expected.tensors
    )


def _same_tensors(found: Mapping[str, Float32Array], expected: Mapping[str, Float32Array]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].shape == values.shape and found[name].tobytes() == values.tobytes()
        for name, values in expected.items()
    )
