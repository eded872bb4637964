"""The tokenizer that lengths, packing and the model's own template need: a bundle's or a Hugging Face folder's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlora_export.bundle.files import hash_file
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.bundle.tokenizer_reading import TOKENIZER, load, read_chat_template
from pocketlora_export.data.chat import ChatTemplate
from pocketlora_export.data.coder import TextCoder, read_special_tokens
from pocketlora_export.data.prepare.templates import Marks
from pocketlora_export.errors import PocketLoraError, Status


@dataclass(frozen=True)
class TokenizerSource:
    """Where a tokenizer comes from; worker processes open it anew."""

    path: Path
    bundle: bool


@dataclass(frozen=True)
class OpenTokenizer:
    """A tokenizer, the names of its special tokens, and what a bundle allows (None = no bundle)."""

    coder: TextCoder
    marks: Marks
    sha256: str
    max_tokens: int | None = None
    max_segments: int | None = None


def open_tokenizer(source: TokenizerSource) -> OpenTokenizer:
    """Open a tokenizer. Raises what is wrong with the bundle, or INPUT_MISSING or INPUT_MALFORMED for a folder."""
    return _of_bundle(source.path) if source.bundle else _of_folder(source.path)


def _of_bundle(path: Path) -> OpenTokenizer:
    manifest = read_manifest(path).manifest
    document = json.loads(manifest.model_dump_json())
    coder = TextCoder.from_bundle(path, document)
    marks = _marks(read_special_tokens(path / "tokenizer_config.json"))
    limits = manifest.limits
    return OpenTokenizer(coder, marks, hash_file(path / TOKENIZER), limits.train_t_max, limits.max_segments)


def _of_folder(folder: Path) -> OpenTokenizer:
    path = folder / TOKENIZER
    if not path.is_file():
        raise PocketLoraError(Status.INPUT_MISSING, f"--tokenizer {folder}: expected a folder with {TOKENIZER}")
    tokenizer = load(path)
    special = read_special_tokens(folder / "tokenizer_config.json", Status.INPUT_MALFORMED)
    source = read_chat_template(folder)
    try:
        template = None if source is None else ChatTemplate(source, special)
    except ValueError as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{folder}: {error}") from None
    ids = _eos_ids(folder)
    if not ids and "eos_token" in special:
        token = tokenizer.token_to_id(special["eos_token"])
        ids = [] if token is None else [token]
    return OpenTokenizer(TextCoder(tokenizer, ids, template, folder), _marks(special), hash_file(path))


def _marks(special: dict[str, str]) -> Marks:
    # A tokenizer without such a token writes none.
    return Marks(special.get("bos_token", ""), special.get("eos_token", ""))


def _eos_ids(folder: Path) -> list[int]:
    """End tokens as a bundle of this model has them: those of config.json, then those of generation_config.json."""
    found: list[int] = []
    for name in ("config.json", "generation_config.json"):
        value = _object(folder / name).get("eos_token_id")
        found += value if isinstance(value, list) else [value] if isinstance(value, int) else []
    return list(dict.fromkeys(found))


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
