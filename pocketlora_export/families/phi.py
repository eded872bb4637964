"""Phi-1, 1.5 and 2: attention and MLP side by side after one LayerNorm, biases everywhere, partly rotated heads."""

from __future__ import annotations

from typing import ClassVar

from pocketlora_export.families.base import DecoderModel, Linears
from pocketlora_export.families.config_keys import ConfigKeys
from pocketlora_export.graphs.parts.attention import Rotary, SelfAttention
from pocketlora_export.graphs.parts.block import DecoderBlock
from pocketlora_export.graphs.parts.mlp import PlainMlp
from pocketlora_export.graphs.parts.norm import LayerNorm, Norm
from pocketlora_export.graphs.parts.qkv import SeparateQkv


class PhiModel(DecoderModel):
    """Hugging Face `PhiForCausalLM`."""

    family: ClassVar[str] = "phi"
    architecture: ClassVar[str] = "PhiForCausalLM"
    activations: ClassVar[tuple[str, ...]] = ("gelu_new", "gelu_pytorch_tanh")
    partial_rotary: ClassVar[bool] = True
    keys: ClassVar[ConfigKeys] = ConfigKeys(understood=frozenset({"layer_norm_eps", "qk_layernorm"}))

    @property
    def head_bias(self) -> bool:
        """See `DecoderModel.head_bias`: always."""
        return True

    def final_norm(self) -> Norm:
        """See `DecoderModel.final_norm`."""
        return self._norm("final_layernorm", self.config.hidden_size)

    def _norm(self, name: str, size: int) -> LayerNorm:
        return LayerNorm(name, size, self.config.layer_norm_eps)

    def _head_norm(self, name: str) -> LayerNorm | None:
        return self._norm(name, self.head_dim) if self.config.qk_layernorm else None

    def block(self, kind: str, linear: Linears) -> DecoderBlock:
        """See `DecoderModel.block`."""
        del kind
        attention = self._attention(linear)
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        up, down = linear("mlp.fc1", hidden, inner, True), linear("mlp.fc2", inner, hidden, True)
        return DecoderBlock(
            hidden,
            attention,
            PlainMlp(up, down, self.config.hidden_act),
            attention_norm=self._norm("input_layernorm", hidden),
            parallel=True,
        )

    def _attention(self, linear: Linears) -> SelfAttention:
        config, hidden = self.config, self.config.hidden_size
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        qkv = SeparateQkv(
            linear("self_attn.q_proj", hidden, queries, True),
            linear("self_attn.k_proj", hidden, keys, True),
            linear("self_attn.v_proj", hidden, keys, True),
        )
        return SelfAttention(
            qkv=qkv,
            output=linear("self_attn.dense", queries, hidden, True),
            head_dim=self.head_dim,
            kv_width=keys,
            rotary=Rotary("rope", self.facts.rope[0].dim),
            query_norm=self._head_norm("self_attn.q_layernorm"),
            key_norm=self._head_norm("self_attn.k_layernorm"),
        )
