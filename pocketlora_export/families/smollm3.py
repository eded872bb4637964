"""SmolLM3: Llama in which every few layers have no position embedding, and those may have a sliding window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pocketlora_export.families.config_keys import ConfigKeys, list_problems, optional_size, shown
from pocketlora_export.families.llama import LlamaModel
from pocketlora_export.families.sliding import FULL, SLIDING
from pocketlora_export.graphs.parts.attention import Rotary


def _nope_problems(config: Mapping[str, Any]) -> list[str]:
    """`no_rope_layers`: 1 = the layer has a rotary embedding, 0 = it has none."""
    found, layers = config.get("no_rope_layers"), config.get("num_hidden_layers")
    if found is None or not isinstance(layers, int):
        return []
    if isinstance(found, list) and len(found) >= layers and all(entry in (0, 1) for entry in found):
        return []
    return [f"no_rope_layers: expected 0 or 1 for each of the {layers} layers, found {shown(found)}"]


class SmolLM3Model(LlamaModel):
    """Hugging Face `SmolLM3ForCausalLM`."""

    family: ClassVar[str] = "smollm3"
    architecture: ClassVar[str] = "SmolLM3ForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=frozenset(
            {
                "rms_norm_eps", "attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval",
                "use_sliding_window", "sliding_window", "layer_types",
            }
        ),
        # In the published config, and read by nothing.
        ignored=frozenset({"pretraining_tp", "max_window_layers"}),
    )  # fmt: skip

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        problems = optional_size(config, "sliding_window") + optional_size(config, "no_rope_layer_interval")
        problems += _nope_problems(config) + list_problems(config, "layer_types", (FULL, SLIDING))
        slides = config.get("use_sliding_window") and config.get("sliding_window") is not None
        if not problems and SLIDING in (config.get("layer_types") or ()) and not slides:
            problems.append(f"layer_types: {SLIDING} needs use_sliding_window and a sliding_window")
        return problems

    def layer_kinds(self) -> Sequence[str]:
        """See `DecoderModel.layer_kinds`: with or without rotary embedding, with or without a window."""
        return [
            ("rope" if rotary else "nope") + ("_sliding" if kind == SLIDING else "")
            for rotary, kind in zip(self.config.no_rope_layers, self.config.layer_types, strict=False)
        ]

    def window(self, kind: str) -> int | None:
        """See `LlamaModel.window`."""
        window: int | None = self.config.sliding_window
        return window if kind.endswith("_sliding") else None

    def rotary(self, kind: str) -> Rotary | None:
        """See `LlamaModel.rotary`."""
        return super().rotary(kind) if kind.startswith("rope") else None

    @property
    def sliding_window(self) -> int | None:
        """See `DecoderModel.sliding_window`."""
        return next((window for kind in self.layer_kinds() if (window := self.window(kind)) is not None), None)
