"""Rotary grouped-query self-attention around two cores: packed segments (training), KV cache (inference)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.stage import InputSpec, Tensors

# (q, k, v, inputs) -> attended values
Core = Callable[[Tensor, Tensor, Tensor, Tensors], Tensor]


@dataclass(frozen=True)
class SelfAttention:
    """q, k, v projections, rotary embedding, attention, output projection.

    `window`: keys that a row sees at most, itself included; None = all before it.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    head_dim: int
    window: int | None = None

    def inputs(self) -> list[InputSpec]:
        """Inputs of the four projections in q, k, v, o order."""
        return [spec for part in (self.query, self.key, self.value, self.output) for spec in part.inputs()]

    def _shape(self) -> tuple[int, float, int]:
        """head_dim, scale and window, as the ops want them."""
        return self.head_dim, self.head_dim**-0.5, self.window or 0

    def packed(self) -> Core:
        """Causal attention inside each segment."""

        def core(q: Tensor, k: Tensor, v: Tensor, inputs: Tensors) -> Tensor:
            out: Tensor = ops.attention(q, k, v, inputs["segments"], *self._shape())[0]
            return out

        return core

    def cached(self) -> Core:
        """Attention over the cache's first `past` rows and the new ones."""

        def core(q: Tensor, k: Tensor, v: Tensor, inputs: Tensors) -> Tensor:
            cache = (inputs["k_cache"], inputs["v_cache"], inputs["past"])
            out: Tensor = ops.attention_cached(q, k, v, *cache, *self._shape())
            return out

        return core

    def __call__(self, x: Tensor, inputs: Tensors, core: Core) -> tuple[Tensor, Tensor, Tensor]:
        """f32 [N, H] -> (attended f32 [N, H], new keys [N, Hkv*D], new values [N, Hkv*D])."""
        table = inputs["rope"]
        q = ops.rope(self.query(x, inputs), table, self.head_dim, False)
        k = ops.rope(self.key(x, inputs), table, self.head_dim, False)
        v = self.value(x, inputs)
        return self.output(core(q, k, v, inputs), inputs), k, v
