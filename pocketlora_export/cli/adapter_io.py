"""Reading an adapter folder in whatever format it is, and options that the `adapter` commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pocketlora_export.adapters import mlx_folder, peft_folder
from pocketlora_export.adapters.lora import LoraAdapter
from pocketlora_export.adapters.lora_config import LoraConfig
from pocketlora_export.adapters.mlx_folder import read_mlx
from pocketlora_export.adapters.peft_folder import read_peft
from pocketlora_export.errors import PocketLoraError, Status

Format = Literal["peft", "mlx"]


@dataclass(frozen=True)
class AdapterFolder:
    """A folder that was read; `config` and `document` are what only PEFT's format has."""

    format: Format
    adapter: LoraAdapter
    config: LoraConfig | None = None
    document: dict[str, Any] | None = None


def format_of(folder: Path) -> Format:
    """By the name of the weights. Raises ADAPTER_MISSING_FILE when the path is no adapter folder."""
    if folder.is_file():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{folder}: a file, expected an adapter folder")
    if not folder.is_dir():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{folder}: no such folder")
    has_mlx = (folder / mlx_folder.WEIGHTS_NAME).is_file()
    return "mlx" if has_mlx and not (folder / peft_folder.WEIGHTS_NAME).is_file() else "peft"


def read_folder(folder: Path) -> AdapterFolder:
    """Read and check a folder of PEFT or MLX-LM. Raises what `read_peft` or `read_mlx` raises."""
    if format_of(folder) == "mlx":
        return AdapterFolder("mlx", read_mlx(folder))
    found = read_peft(folder)
    return AdapterFolder("peft", found.adapter, found.config, found.document)


def facts(found: AdapterFolder) -> dict[str, object]:
    """What `import`, `inspect` and `list` say of an adapter, as JSON."""
    adapter = found.adapter
    return {
        "format": found.format,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "use_rslora": adapter.use_rslora,
        "modules": len(adapter.sites),
        "target_modules": sorted({name.rpartition(".")[2] for name in adapter.sites}),
        "parameters": adapter.num_parameters,
        "dtypes": sorted({tensor.dtype for site in adapter.sites.values() for tensor in (site.a, site.b)}),
        "base_model": adapter.base_model,
        "base_sha256": adapter.base_sha256,
    }
