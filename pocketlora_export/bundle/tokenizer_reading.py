"""Reading what a model's folder says of its tokenizer. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from pocketlora_export.errors import PocketLoraError, Status

TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"


def load(path: Path) -> FastTokenizer:
    """Read a tokenizer.json. Whole texts are wanted, so what it says of truncation and padding is left aside.

    Raises:
        PocketLoraError: INPUT_MALFORMED when it cannot be read.
    """
    try:
        tokenizer = FastTokenizer.from_file(str(path))
    except Exception as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not a tokenizer ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_chat_template(folder: Path) -> str | None:
    """The chat template, from its own file or from tokenizer_config.json; None when there is none.

    Raises:
        PocketLoraError: INPUT_MALFORMED when one of the two files cannot be read.
    """
    config = _read_json(folder / CONFIG)
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        return _read_text(path)
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        message = f"{path}: expected a JSON object, found {type(value).__name__}"
        raise PocketLoraError(Status.INPUT_MALFORMED, message)
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not UTF-8 ({error})") from error
