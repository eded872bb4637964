"""OLMo: Llama with norms that have no parameters, and queries, keys and values clipped where the config says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pocketlora_export.families.base import Linears
from pocketlora_export.families.config_keys import ConfigKeys, shown
from pocketlora_export.families.llama import LlamaModel
from pocketlora_export.graphs.parts.attention import SelfAttention
from pocketlora_export.graphs.parts.norm import LayerNorm, Norm
from pocketlora_export.graphs.parts.qkv import ClippedQkv

# A constant of the reference model, not a key of its config.
_EPS = 1e-5


class OlmoModel(LlamaModel):
    """Hugging Face `OlmoForCausalLM`."""

    family: ClassVar[str] = "olmo"
    architecture: ClassVar[str] = "OlmoForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(understood=frozenset({"attention_bias", "clip_qkv"}))

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        clip = config.get("clip_qkv")
        if clip is None or (isinstance(clip, (int, float)) and not isinstance(clip, bool) and clip > 0):
            return []
        return [f"clip_qkv: expected a positive number or null, found {shown(clip)}"]

    @property
    def norm_eps(self) -> float:
        """See `DecoderModel.norm_eps`."""
        return _EPS

    @property
    def mlp_bias(self) -> bool:
        """See `LlamaModel.mlp_bias`: never."""
        return False

    def norm(self, name: str) -> Norm:
        """See `LlamaModel.norm`: nothing to name."""
        del name
        return LayerNorm(None, self.config.hidden_size, _EPS)

    def attention(self, kind: str, linear: Linears) -> SelfAttention:
        """See `LlamaModel.attention`."""
        attention, clip = super().attention(kind, linear), self.config.clip_qkv
        return attention if clip is None else replace(attention, qkv=ClippedQkv(attention.qkv, float(clip)))
