"""Opening a Hugging Face model: a local folder or a hub id, checked before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketlora_export.bundle.checkpoint import TensorEntry, read_checkpoint
from pocketlora_export.errors import PocketLoraError, Status, raise_all
from pocketlora_export.quantize.checkpoint import DTYPE_NAMES, DTYPES
from pocketlora_export.quantize.stored import StoredTensor

CONFIG = "config.json"
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "LICENSE*"]
# Buffers that older exporters wrote into checkpoints; they follow from the config.
_IGNORED_SUFFIXES = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias")
# A checkpoint may hold the tied head a second time; it is the embedding.
_TIED_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Source:
    """A checked model folder."""

    folder: Path
    name: str
    config: dict[str, Any]
    tensors: dict[str, TensorEntry] = field(repr=False)

    @property
    def dtype(self) -> str:
        """The dtype that holds most of the checkpoint's bytes, for example "bfloat16"."""
        weight: dict[str, int] = {}
        for entry in self.tensors.values():
            weight[entry.dtype] = weight.get(entry.dtype, 0) + entry.nbytes
        most = max(weight, key=lambda d: weight[d])
        return DTYPE_NAMES.get(most, most.lower())


def resolve_folder(model: str) -> Path:
    """The folder of a local path or of a hub id (downloaded when it is not in the cache).

    Raises:
        PocketLoraError: INPUT_MISSING when there is neither.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise PocketLoraError(
            Status.INPUT_MISSING, f"{model} is a file; a model is a folder with {CONFIG} and safetensors"
        )
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise PocketLoraError(Status.INPUT_MISSING, f"{model}: no such folder, and not a hub id (OWNER/NAME)")
    return _download(model)


def _download(model: str) -> Path:
    # Imported here: most runs are local.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except RepositoryNotFoundError as error:
        message = f"{model}: no such folder here, and no such model on the hub (or no access: run 'hf auth login')"
        raise PocketLoraError(Status.INPUT_MISSING, message) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = f"{model}: no such folder here, and it could not be had from the hub: {reason}"
        raise PocketLoraError(Status.INPUT_MISSING, message) from error


def _read_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    path = folder / CONFIG
    if not path.is_file():
        return {}, [f"{path}: missing"]
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        return {}, [f"{path}: not JSON ({error})"]
    return (config, []) if isinstance(config, dict) else ({}, [f"{path}: not a JSON object"])


def open_source(model: str) -> Source:
    """Open a model and check its files; tensors are not read.

    Args:
        model: folder, or hub id "OWNER/NAME".

    Raises:
        PocketLoraError: INPUT_MISSING or INPUT_MALFORMED, listing every problem at once.
    """
    folder = resolve_folder(model)
    config, problems = _read_config(folder)
    tensors, wrong = read_checkpoint(folder)
    problems += wrong
    missing = any("missing" in p or "neither" in p for p in problems)
    status = Status.INPUT_MISSING if missing else Status.INPUT_MALFORMED
    raise_all(status, f"{model} is not a complete model folder:", problems)
    name = model if not Path(model).expanduser().is_dir() else folder.resolve().name
    return Source(folder, name, config, tensors)


def check_tensors(source: Source, weights: Sequence[StoredTensor]) -> None:
    """Compare the checkpoint with what the config asks for.

    Raises:
        PocketLoraError: INPUT_MISMATCH listing every missing, extra and misshaped tensor and every unreadable dtype.
    """
    expected = {w.name: w for w in weights}
    problems = [p for w in weights for p in _tensor_problems(source.tensors.get(w.name), w)]
    extra = [n for n in source.tensors if n not in expected and n != _TIED_HEAD and not n.endswith(_IGNORED_SUFFIXES)]
    problems += [
        f"{name}: not part of a {source.config.get('model_type')} model with this config" for name in sorted(extra)
    ]
    raise_all(Status.INPUT_MISMATCH, f"{source.folder}: the tensors do not fit {CONFIG}:", problems)


def _tensor_problems(entry: TensorEntry | None, weight: StoredTensor) -> list[str]:
    if entry is None:
        return [f"{weight.name}: missing, expected shape {list(weight.source_shape)}"]
    problems = []
    if entry.shape != weight.source_shape:
        problems.append(f"{weight.name}: expected shape {list(weight.source_shape)}, found {list(entry.shape)}")
    if entry.dtype not in DTYPES:
        problems.append(f"{weight.name}: dtype {entry.dtype} is not supported (supported: {', '.join(DTYPES)})")
    return problems
