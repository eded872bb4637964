"""Rotary tables: which parameters are understood, and their frequencies from transformers' own implementation."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from pocketlora_export.families.config_keys import shown
from pocketlora_export.graphs.parts.ends import RotaryTable

# The keys of each type whose frequencies do not depend on the length of the text, so that they can be a constant of
# the program. (longrope's do, between two sets: see `rotary_table`.)
_KEYS = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
             "mscale_all_dim", "truncate"},
    "longrope": {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"},
}  # fmt: skip
_GENERAL = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


def _given(config: Mapping[str, Any]) -> tuple[str, Any]:
    """The key that holds the rotary parameters, and its value."""
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    return key, config.get(key)


def _tables(key: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, parameters): the one table, or one for each type of layer."""
    nested = {name: value for name, value in found.items() if isinstance(value, Mapping)}
    if not nested:
        yield key, found
    for name, value in nested.items():
        yield f"{key}.{name}", value


def rope_problems(config: Mapping[str, Any], types: Sequence[str], partial: bool) -> list[str]:
    """Rotary types and parameters of a config.json that are not understood.

    Args:
        config: config.json.
        types: rope types that the family takes.
        partial: whether the family takes a `partial_rotary_factor`.
    """
    factor = config.get("partial_rotary_factor")
    if factor not in (None, 1) and not partial:
        return [f"partial_rotary_factor: expected 1.0, found {shown(factor)}", *_given_problems(config, types, partial)]
    return _given_problems(config, types, partial)


def _given_problems(config: Mapping[str, Any], types: Sequence[str], partial: bool) -> list[str]:
    key, found = _given(config)
    if found is None:
        return []
    if not isinstance(found, Mapping):
        return [f"{key}: expected an object or null, found {shown(found)}"]
    return [problem for path, values in _tables(key, found) for problem in _problems(path, values, types, partial)]


def _problems(path: str, values: Mapping[str, Any], types: Sequence[str], partial: bool) -> list[str]:
    kind = values.get("rope_type") or values.get("type") or "default"
    if kind not in types:
        return [f"{path}.rope_type: expected one of {', '.join(types)}, found {shown(kind)}"]
    unknown = sorted(name for name in set(values) - _KEYS[kind] - _GENERAL if values[name] is not None)
    problems = [
        f"{path}.{name}: not understood with rope_type {kind!r}, found {shown(values[name])}" for name in unknown
    ]
    if values.get("partial_rotary_factor") not in (None, 1) and not partial:
        problems.append(f"{path}.partial_rotary_factor: expected 1.0, found {shown(values['partial_rotary_factor'])}")
    return problems


def rotary_table(model_class: Any, config: Any, name: str, context: int, layer_type: str | None = None) -> RotaryTable:
    """A rotary table of a model.

    transformers switches longrope's frequencies when a text grows beyond the length that the model was first trained
    with. A program has one set: the long factors when the bundle's context is beyond that length, else the short ones.

    Args:
        model_class: transformers' class of the model.
        config: its config.
        name: the table's name.
        context: tokens of the longest text.
        layer_type: which table of a model with several.
    """
    module = sys.modules[model_class.__module__]
    embedding_class = getattr(module, model_class.__name__.removesuffix("ForCausalLM") + "RotaryEmbedding")
    embedding, prefix = embedding_class(config), "" if layer_type is None else f"{layer_type}_"
    inv_freq: Tensor = getattr(embedding, f"{prefix}inv_freq")
    scaling = float(getattr(embedding, f"{prefix}attention_scaling"))
    parameters = rope_parameters(config, layer_type)
    if parameters["rope_type"] == "longrope" and context > parameters["original_max_position_embeddings"]:
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        inv_freq, scaling = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu", seq_len=context, layer_type=layer_type)
    return RotaryTable(name, inv_freq.detach().float().clone(), float(scaling))


def rope_parameters(config: Any, layer_type: str | None = None) -> dict[str, Any]:
    """The rotary parameters of transformers' config, in its one form."""
    found = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    return dict(found)
