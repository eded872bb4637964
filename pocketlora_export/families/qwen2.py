"""Qwen2 and Qwen2.5: Llama with biases on q, k and v alone, and layers with a sliding window where the config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pocketlora_export.families.config_keys import ConfigKeys, list_problems, optional_size
from pocketlora_export.families.sliding import FULL, SLIDING, SlidingLayersModel


class Qwen2Model(SlidingLayersModel):
    """Hugging Face `Qwen2ForCausalLM`."""

    family: ClassVar[str] = "qwen2"
    architecture: ClassVar[str] = "Qwen2ForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset(
            {"rms_norm_eps", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}
        ),
        expected={"use_mrope": (False,)},
    )

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        problems = optional_size(config, "sliding_window") + list_problems(config, "layer_types", (FULL, SLIDING))
        slides = config.get("use_sliding_window") and config.get("sliding_window", 1) is not None
        if not problems and SLIDING in (config.get("layer_types") or ()) and not slides:
            problems.append(f"layer_types: {SLIDING} needs use_sliding_window and a sliding_window")
        return problems

    @property
    def qkv_bias(self) -> bool:
        """See `LlamaModel.qkv_bias`: always."""
        return True

    @property
    def output_bias(self) -> bool:
        """See `LlamaModel.output_bias`: never."""
        return False

    @property
    def mlp_bias(self) -> bool:
        """See `LlamaModel.mlp_bias`: never."""
        return False
