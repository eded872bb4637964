"""Phi-3, Phi-3.5, Phi-4-mini: q, k, v in one linear layer and gate, up in one; longrope; partly rotated heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pocketlora_export.families.base import Linears
from pocketlora_export.families.config_keys import ConfigKeys, optional_size
from pocketlora_export.families.llama import LlamaModel
from pocketlora_export.graphs.parts.attention import SelfAttention
from pocketlora_export.graphs.parts.mlp import FusedGatedMlp, Mlp
from pocketlora_export.graphs.parts.qkv import FusedQkv


class Phi3Model(LlamaModel):
    """Hugging Face `Phi3ForCausalLM`."""

    family: ClassVar[str] = "phi3"
    architecture: ClassVar[str] = "Phi3ForCausalLM"
    rope_types: ClassVar[tuple[str, ...]] = ("default", "longrope")
    partial_rotary: ClassVar[bool] = True
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset({"rms_norm_eps", "sliding_window", "original_max_position_embeddings"}),
        expected={
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "lm_head_bias": (False,),
            "full_attn_mod": (1,),
            "interpolate_factor": (1,),
        },
    )

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        return optional_size(config, "sliding_window")

    @property
    def sliding_window(self) -> int | None:
        """See `DecoderModel.sliding_window`: of every layer."""
        window: int | None = self.config.sliding_window
        return window

    def attention(self, kind: str, linear: Linears) -> SelfAttention:
        """See `LlamaModel.attention`: `qkv_proj` and o."""
        config, hidden = self.config, self.config.hidden_size
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        return SelfAttention(
            qkv=FusedQkv(linear("self_attn.qkv_proj", hidden, queries + 2 * keys), queries, keys),
            output=linear("self_attn.o_proj", queries, hidden),
            head_dim=self.head_dim,
            kv_width=keys,
            rotary=self.rotary(kind),
            window=self.sliding_window,
        )

    def mlp(self, linear: Linears) -> Mlp:
        """See `LlamaModel.mlp`: `gate_up_proj` and down."""
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        return FusedGatedMlp(
            linear("mlp.gate_up_proj", hidden, 2 * inner), linear("mlp.down_proj", inner, hidden), self.activation
        )
