"""Llama 2 / 3.x, SmolLM2, TinyLlama: RMSNorm, rotary GQA attention, SwiGLU, optional biases, tied or untied head."""

from __future__ import annotations

from typing import ClassVar

from pocketlora_export.families.base import DecoderModel, Linears
from pocketlora_export.families.config_keys import ConfigKeys
from pocketlora_export.graphs.parts.attention import Rotary, SelfAttention
from pocketlora_export.graphs.parts.block import DecoderBlock
from pocketlora_export.graphs.parts.mlp import GatedMlp, Mlp
from pocketlora_export.graphs.parts.norm import Norm, RmsNorm
from pocketlora_export.graphs.parts.qkv import SeparateQkv


class LlamaModel(DecoderModel):
    """Hugging Face `LlamaForCausalLM`, and the pre-norm block of families that differ from it in a few facts."""

    family: ClassVar[str] = "llama"
    architecture: ClassVar[str] = "LlamaForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset({"rms_norm_eps", "attention_bias", "mlp_bias"}),
        expected={"pretraining_tp": (1,), "rope_interleaved": (False,)},
        ignored=frozenset({"is_llama_config"}),
    )

    @property
    def qkv_bias(self) -> bool:
        """Whether q, k and v have a bias."""
        return bool(self.config.attention_bias)

    @property
    def output_bias(self) -> bool:
        """Whether o has a bias."""
        return bool(self.config.attention_bias)

    @property
    def mlp_bias(self) -> bool:
        """Whether gate, up and down have a bias."""
        return bool(self.config.mlp_bias)

    def window(self, kind: str) -> int | None:
        """Keys that a token of such a layer sees at most, itself included; None = all before it."""
        del kind
        return None

    def rotary(self, kind: str) -> Rotary | None:
        """The rotary table of such a layer; None = no position embedding."""
        del kind
        return Rotary("rope", self.facts.rope[0].dim)

    def head_norm(self, name: str) -> Norm | None:
        """The norm of each head of queries or keys."""
        del name
        return None

    @property
    def attention_scale(self) -> float | None:
        """Scale of the scores; None = 1 / sqrt(head_dim)."""
        return None

    @property
    def residual_scale(self) -> float:
        """What is multiplied with that which is added to the residual stream."""
        return 1.0

    def attention(self, kind: str, linear: Linears) -> SelfAttention:
        """q, k, v and o of their own."""
        config, hidden = self.config, self.config.hidden_size
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        qkv = SeparateQkv(
            linear("self_attn.q_proj", hidden, queries, self.qkv_bias),
            linear("self_attn.k_proj", hidden, keys, self.qkv_bias),
            linear("self_attn.v_proj", hidden, keys, self.qkv_bias),
        )
        return SelfAttention(
            qkv=qkv,
            output=linear("self_attn.o_proj", queries, hidden, self.output_bias),
            head_dim=self.head_dim,
            kv_width=keys,
            rotary=self.rotary(kind),
            window=self.window(kind),
            scale=self.attention_scale,
            query_norm=self.head_norm("self_attn.q_norm"),
            key_norm=self.head_norm("self_attn.k_norm"),
        )

    def mlp(self, linear: Linears) -> Mlp:
        """gate, up and down of their own."""
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        return GatedMlp(
            linear("mlp.gate_proj", hidden, inner, self.mlp_bias),
            linear("mlp.up_proj", hidden, inner, self.mlp_bias),
            linear("mlp.down_proj", inner, hidden, self.mlp_bias),
            self.activation,
        )

    @property
    def activation(self) -> str:
        """The MLP's activation."""
        return str(self.config.hidden_act)

    def norm(self, name: str) -> Norm:
        """A norm of whole rows."""
        return RmsNorm(name, self.config.hidden_size, self.config.rms_norm_eps)

    def final_norm(self) -> Norm:
        """See `DecoderModel.final_norm`."""
        return self.norm("norm")

    def block(self, kind: str, linear: Linears) -> DecoderBlock:
        """See `DecoderModel.block`: a norm before the attention, one before the MLP."""
        return DecoderBlock(
            self.config.hidden_size,
            self.attention(kind, linear),
            self.mlp(linear),
            attention_norm=self.norm("input_layernorm"),
            mlp_norm=self.norm("post_attention_layernorm"),
            residual_scale=self.residual_scale,
        )
