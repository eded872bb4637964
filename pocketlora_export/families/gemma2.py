"""Gemma 2: norms before and after attention and MLP, soft caps, GeGLU, every other layer with a sliding window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pocketlora_export.families.base import Linears
from pocketlora_export.families.config_keys import ConfigKeys, list_problems, optional_size, shown
from pocketlora_export.families.sliding import FULL, SLIDING, SlidingLayersModel
from pocketlora_export.graphs.parts.attention import SelfAttention
from pocketlora_export.graphs.parts.block import DecoderBlock
from pocketlora_export.graphs.parts.norm import Norm, RmsNorm

GEMMA_KEYS = frozenset(
    {
        "rms_norm_eps", "attention_bias", "hidden_activation", "query_pre_attn_scalar", "sliding_window",
        "layer_types", "final_logit_softcapping",
    }
)  # fmt: skip
# How transformers caches keys and values, and which keys older files carry along.
GEMMA_IGNORED = frozenset({"cache_implementation"})


def cap_problems(config: Mapping[str, Any], key: str) -> list[str]:
    """A problem where a soft cap is given that is no positive number."""
    cap = config.get(key)
    if cap is None or (isinstance(cap, (int, float)) and not isinstance(cap, bool) and cap > 0):
        return []
    return [f"{key}: expected a positive number or null, found {shown(cap)}"]


class Gemma2Model(SlidingLayersModel):
    """Hugging Face `Gemma2ForCausalLM`, and what Gemma 3 shares with it."""

    family: ClassVar[str] = "gemma2"
    architecture: ClassVar[str] = "Gemma2ForCausalLM"
    activations: ClassVar[tuple[str, ...]] = ("gelu_pytorch_tanh",)
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=GEMMA_KEYS | {"attn_logit_softcapping"},
        expected={"use_bidirectional_attention": (False,)},
        ignored=GEMMA_IGNORED,
    )

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        problems = cap_problems(config, "final_logit_softcapping") + cap_problems(config, "attn_logit_softcapping")
        problems += optional_size(config, "query_pre_attn_scalar") + optional_size(config, "sliding_window")
        problems += list_problems(config, "layer_types", (FULL, SLIDING))
        slides = SLIDING in (config.get("layer_types") or (SLIDING,))
        if not problems and slides and config.get("sliding_window", 1) is None:
            problems.append(f"sliding_window: expected a positive integer for layers of {SLIDING}, found None")
        return problems

    @property
    def embedding_scale(self) -> float:
        """See `DecoderModel.embedding_scale`."""
        return float(self.config.hidden_size**0.5)

    @property
    def attention_scale(self) -> float | None:
        """See `LlamaModel.attention_scale`."""
        return float(self.config.query_pre_attn_scalar**-0.5)

    @property
    def attention_softcap(self) -> float:
        """A bound that the attention's scores approach; 0 = none."""
        return float(self.config.attn_logit_softcapping or 0.0)

    @property
    def logits_softcap(self) -> float:
        """See `DecoderModel.logits_softcap`."""
        return float(self.config.final_logit_softcapping or 0.0)

    @property
    def mlp_bias(self) -> bool:
        """See `LlamaModel.mlp_bias`: never."""
        return False

    @property
    def activation(self) -> str:
        """See `LlamaModel.activation`."""
        return str(self.config.hidden_activation)

    def norm(self, name: str) -> Norm:
        """See `LlamaModel.norm`: the checkpoint has weight - 1."""
        return self.offset_norm(name, self.config.hidden_size)

    def offset_norm(self, name: str, size: int) -> RmsNorm:
        """A norm over groups of `size` whose weight is stored less 1."""
        return RmsNorm(name, size, self.config.rms_norm_eps, offset=1.0)

    def attention(self, kind: str, linear: Linears) -> SelfAttention:
        """See `LlamaModel.attention`."""
        return replace(super().attention(kind, linear), softcap=self.attention_softcap)

    def block(self, kind: str, linear: Linears) -> DecoderBlock:
        """See `DecoderModel.block`."""
        return DecoderBlock(
            self.config.hidden_size,
            self.attention(kind, linear),
            self.mlp(linear),
            attention_norm=self.norm("input_layernorm"),
            attention_out_norm=self.norm("post_attention_layernorm"),
            mlp_norm=self.norm("pre_feedforward_layernorm"),
            mlp_out_norm=self.norm("post_feedforward_layernorm"),
        )
