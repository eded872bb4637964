"""Qwen3: Qwen2 with a norm on each head of queries and keys, and biases on all four projections or on none."""

from __future__ import annotations

from typing import ClassVar

from pocketlora_export.families.config_keys import ConfigKeys
from pocketlora_export.families.qwen2 import Qwen2Model
from pocketlora_export.graphs.parts.norm import Norm, RmsNorm


class Qwen3Model(Qwen2Model):
    """Hugging Face `Qwen3ForCausalLM`."""

    family: ClassVar[str] = "qwen3"
    architecture: ClassVar[str] = "Qwen3ForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=Qwen2Model.keys.understood | {"attention_bias"},
        expected=Qwen2Model.keys.expected,
    )

    @property
    def qkv_bias(self) -> bool:
        """See `LlamaModel.qkv_bias`."""
        return bool(self.config.attention_bias)

    @property
    def output_bias(self) -> bool:
        """See `LlamaModel.output_bias`."""
        return bool(self.config.attention_bias)

    def head_norm(self, name: str) -> Norm | None:
        """See `LlamaModel.head_norm`."""
        return RmsNorm(name, self.head_dim, self.config.rms_norm_eps)
