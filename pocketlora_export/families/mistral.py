"""Mistral 7B and its kin: Llama without biases, with an attention window that slides over the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pocketlora_export.families.config_keys import ConfigKeys, optional_size
from pocketlora_export.families.llama import LlamaModel


class MistralModel(LlamaModel):
    """Hugging Face `MistralForCausalLM`. A bias in the config means nothing: the reference model has none."""

    family: ClassVar[str] = "mistral"
    architecture: ClassVar[str] = "MistralForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset({"rms_norm_eps", "sliding_window"}),
        ignored=frozenset({"attention_bias", "mlp_bias"}),
    )

    @property
    def qkv_bias(self) -> bool:
        """See `LlamaModel.qkv_bias`: never."""
        return False

    @property
    def output_bias(self) -> bool:
        """See `LlamaModel.output_bias`: never."""
        return False

    @property
    def mlp_bias(self) -> bool:
        """See `LlamaModel.mlp_bias`: never."""
        return False

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        return optional_size(config, "sliding_window")

    @property
    def sliding_window(self) -> int | None:
        """See `DecoderModel.sliding_window`: of every layer."""
        window: int | None = self.config.sliding_window
        return window

    def window(self, kind: str) -> int | None:
        """See `LlamaModel.window`."""
        del kind
        return self.sliding_window
