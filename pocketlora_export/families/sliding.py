"""Llama with layers of two kinds: those that attend to everything before a token, and those with a sliding window."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlora_export.families.llama import LlamaModel

# The values of `layer_types` in a config.
SLIDING, FULL = "sliding_attention", "full_attention"


class SlidingLayersModel(LlamaModel):
    """Which layers slide is in the config's `layer_types`, how far in `sliding_window`."""

    def layer_kinds(self) -> Sequence[str]:
        """See `DecoderModel.layer_kinds`."""
        return ["sliding" if kind == SLIDING else "full" for kind in self.config.layer_types]

    def window(self, kind: str) -> int | None:
        """See `LlamaModel.window`."""
        window: int | None = self.config.sliding_window
        return window if kind == "sliding" else None

    @property
    def sliding_window(self) -> int | None:
        """See `DecoderModel.sliding_window`."""
        return self.window("sliding") if "sliding" in self.layer_kinds() else None
