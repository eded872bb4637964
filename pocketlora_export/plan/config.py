"""A model's config.json, from wherever it is; weights are neither needed nor fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pocketlora_export.errors import PocketLoraError, Status

CONFIG = "config.json"


def open_config(model: str) -> tuple[dict[str, Any], str]:
    """The config and the model's name.

    Args:
        model: a folder with config.json, a path to one, or a hub id "OWNER/NAME" whose config alone is fetched.

    Raises:
        PocketLoraError: INPUT_MISSING or INPUT_MALFORMED.
    """
    path, name = _locate(model)
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not a JSON object")
    return config, name


def _locate(model: str) -> tuple[Path, str]:
    given = Path(model).expanduser()
    path = given / CONFIG if given.is_dir() else given
    if path.is_file():
        # A config may have any name; the model's is that of its folder.
        return path, path.resolve().parent.name
    if given.is_dir():
        raise PocketLoraError(Status.INPUT_MISSING, f"{path}: missing")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        message = f"{model}: no such folder or config.json, and not a hub id (OWNER/NAME)"
        raise PocketLoraError(Status.INPUT_MISSING, message)
    return _fetch(model), model


def _fetch(model: str) -> Path:
    # Imported here: most runs are local.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, CONFIG))
    except (EntryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = f"{model}: no such folder here, and its {CONFIG} could not be had from the hub: {reason}"
        raise PocketLoraError(Status.INPUT_MISSING, message) from error
