"""OLMo-2: norms on what attention and MLP give rather than on what they take, and on whole rows of queries and keys."""

from __future__ import annotations

from typing import ClassVar

from pocketlora_export.families.base import Linears
from pocketlora_export.families.config_keys import ConfigKeys
from pocketlora_export.families.llama import LlamaModel
from pocketlora_export.graphs.parts.block import DecoderBlock
from pocketlora_export.graphs.parts.norm import Norm, RmsNorm


class Olmo2Model(LlamaModel):
    """Hugging Face `Olmo2ForCausalLM`."""

    family: ClassVar[str] = "olmo2"
    architecture: ClassVar[str] = "Olmo2ForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(understood=frozenset({"rms_norm_eps", "attention_bias"}))

    @property
    def mlp_bias(self) -> bool:
        """See `LlamaModel.mlp_bias`: never."""
        return False

    def head_norm(self, name: str) -> Norm | None:
        """See `LlamaModel.head_norm`: over all heads together."""
        heads = self.config.num_attention_heads if name.endswith("q_norm") else self.config.num_key_value_heads
        return RmsNorm(name, heads * self.head_dim, self.config.rms_norm_eps)

    def block(self, kind: str, linear: Linears) -> DecoderBlock:
        """See `DecoderModel.block`."""
        return DecoderBlock(
            self.config.hidden_size,
            self.attention(kind, linear),
            self.mlp(linear),
            attention_out_norm=self.norm("post_attention_layernorm"),
            mlp_out_norm=self.norm("post_feedforward_layernorm"),
        )
