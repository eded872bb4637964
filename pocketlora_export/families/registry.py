"""Finds the family of a Hugging Face config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pocketlora_export.errors import PocketLoraError, Status, raise_all
from pocketlora_export.families.base import DecoderModel
from pocketlora_export.families.gemma2 import Gemma2Model
from pocketlora_export.families.gemma3 import Gemma3Model
from pocketlora_export.families.granite import GraniteModel
from pocketlora_export.families.llama import LlamaModel
from pocketlora_export.families.mistral import MistralModel
from pocketlora_export.families.olmo import OlmoModel
from pocketlora_export.families.olmo2 import Olmo2Model
from pocketlora_export.families.phi import PhiModel
from pocketlora_export.families.phi3 import Phi3Model
from pocketlora_export.families.qwen2 import Qwen2Model
from pocketlora_export.families.qwen3 import Qwen3Model
from pocketlora_export.families.smollm3 import SmolLM3Model

FAMILIES: tuple[type[DecoderModel], ...] = (
    LlamaModel,
    MistralModel,
    Qwen2Model,
    Qwen3Model,
    SmolLM3Model,
    GraniteModel,
    Phi3Model,
    Olmo2Model,
    PhiModel,
    Gemma2Model,
    Gemma3Model,
    OlmoModel,
)


def supported_architectures() -> list[str]:
    """Names that `architectures` in config.json may have."""
    return sorted(family.architecture for family in FAMILIES)


_JSON_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a number")


def _architectures(config: object) -> list[Any]:
    """`architectures` of a config; a missing one is an empty list."""
    if not isinstance(config, Mapping):
        message = f"config.json: expected an object, found {_json_name(config)}"
        raise PocketLoraError(Status.INPUT_MALFORMED, message)
    found = config.get("architectures")
    if found is not None and not isinstance(found, list):
        message = f"config.json: architectures: expected a list, found {_json_name(found)}"
        raise PocketLoraError(Status.INPUT_MALFORMED, message)
    return found or []


def get_family(config: Mapping[str, Any]) -> type[DecoderModel]:
    """The family of a config.json.

    Raises:
        PocketLoraError: INPUT_MALFORMED, when config or its `architectures` has the wrong type; INPUT_UNSUPPORTED,
            when no family knows the architecture or it refuses a key of the config.
    """
    found = _architectures(config)
    for family in FAMILIES:
        if family.architecture in found:
            problems = family.check_config(config)
            raise_all(Status.INPUT_UNSUPPORTED, f"config.json of {found[0]} is not supported:", problems)
            return family
    supported = ", ".join(supported_architectures())
    raise PocketLoraError(
        Status.INPUT_UNSUPPORTED, f"config.json: architectures is {found}; supported architectures: {supported}"
    )


def decoder_model(config: Mapping[str, Any], name: str) -> DecoderModel:
    """The model that a config.json describes. Raises what `get_family` raises."""
    return get_family(config)(config, name)
