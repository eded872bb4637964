"""Mistral 7B and its kin: Llama without biases, with an attention window that slides over the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pocketlora_export.families.base import ModelFacts
from pocketlora_export.families.llama import LlamaFamily

# What transformers' MistralConfig assumes for a key that config.json leaves out, where it is not what Llama's does.
_DEFAULTS = {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096}


def _window_problems(window: object) -> list[str]:
    if window is None or (isinstance(window, int) and not isinstance(window, bool) and window > 0):
        return []
    return [f"sliding_window: expected a positive integer or null, found {window!r}"]


class MistralFamily(LlamaFamily):
    """Hugging Face `MistralForCausalLM`."""

    architectures: tuple[str, ...] = ("MistralForCausalLM",)

    def check_config(self, config: Mapping[str, Any]) -> list[str]:
        """See `Family.check_config`."""
        known = {**_DEFAULTS, **config}
        return super().check_config(known) + _window_problems(known["sliding_window"])

    def facts(self, config: Mapping[str, Any], name: str) -> ModelFacts:
        """See `Family.facts`. A bias in the config means nothing: the reference model has none."""
        known = {**_DEFAULTS, **config}
        return dataclasses.replace(
            super().facts(known, name),
            family="mistral",
            architecture="MistralForCausalLM",
            attention_bias=False,
            mlp_bias=False,
            sliding_window=known["sliding_window"],
        )
