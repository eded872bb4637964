"""Granite 3: Llama with multipliers of the embedding, the residual stream, the attention scores and the logits."""

from __future__ import annotations

from typing import ClassVar

from pocketlora_export.families.config_keys import ConfigKeys
from pocketlora_export.families.llama import LlamaModel


class GraniteModel(LlamaModel):
    """Hugging Face `GraniteForCausalLM`."""

    family: ClassVar[str] = "granite"
    architecture: ClassVar[str] = "GraniteForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset(
            {
                "rms_norm_eps", "attention_bias", "mlp_bias",
                "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
            }
        )
    )  # fmt: skip

    @property
    def embedding_scale(self) -> float:
        """See `DecoderModel.embedding_scale`."""
        return float(self.config.embedding_multiplier)

    @property
    def residual_scale(self) -> float:
        """See `LlamaModel.residual_scale`."""
        return float(self.config.residual_multiplier)

    @property
    def attention_scale(self) -> float | None:
        """See `LlamaModel.attention_scale`."""
        return float(self.config.attention_multiplier)

    @property
    def logits_scale(self) -> float:
        """See `DecoderModel.logits_scale`."""
        return 1.0 / float(self.config.logits_scaling)
