"""Grouped-query self-attention around two cores: packed segments (training), KV cache (inference)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.parts.norm import Norm
from pocketlora_export.graphs.parts.qkv import Qkv
from pocketlora_export.graphs.stage import InputSpec, Tensors, runtime_input

# (q, k, v, inputs) -> attended values
Core = Callable[[Tensor, Tensor, Tensor, Tensors], Tensor]


@dataclass(frozen=True)
class Rotary:
    """A rotary table by its name ("rope"), and how many entries of a head it rotates."""

    name: str
    dim: int


@dataclass(frozen=True)
class SelfAttention:
    """q, k, v projections, norms of queries and keys, rotary embedding, attention, output projection.

    `rotary`: None = no position embedding. `window`: keys that a row sees at most, itself included; None = all before
    it. `scale` of the scores: None = 1 / sqrt(head_dim). `softcap`: a bound that the scores approach; 0 = none.
    """

    qkv: Qkv
    output: Linear
    head_dim: int
    kv_width: int
    rotary: Rotary | None
    window: int | None = None
    scale: float | None = None
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    softcap: float = 0.0

    def parts(self) -> list[Linear | Norm]:
        """Everything with weights: q, k, v, o, then the norms."""
        norms = [norm for norm in (self.query_norm, self.key_norm) if norm is not None]
        return [*self.qkv.linears(), self.output, *norms]

    def key_value_parts(self) -> list[Linear | Norm]:
        """Those of them that new keys and values come from."""
        return [*self.qkv.key_value_linears(), *([] if self.key_norm is None else [self.key_norm])]

    def activations(self) -> list[InputSpec]:
        """The rotary table, where there is one."""
        return [] if self.rotary is None else [runtime_input(self.rotary.name, ("N", self.rotary.dim))]

    def _shape(self) -> tuple[int, float, int, float]:
        """head_dim, scale, window and softcap, as the ops want them."""
        scale = self.head_dim**-0.5 if self.scale is None else self.scale
        return self.head_dim, scale, self.window or 0, self.softcap

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

    def _placed(self, x: Tensor, norm: Norm | None, inputs: Tensors) -> Tensor:
        """Queries or keys, normed and rotated."""
        x = x if norm is None else norm(x, inputs)
        if self.rotary is None:
            return x
        rotated: Tensor = ops.rope(x, inputs[self.rotary.name], self.head_dim, False)
        return rotated

    def __call__(self, x: Tensor, inputs: Tensors, core: Core) -> tuple[Tensor, Tensor, Tensor]:
        """f32 [N, H] -> (attended f32 [N, H], new keys [N, Hkv*D], new values [N, Hkv*D])."""
        q, k, v = self.qkv(x, inputs)
        q, k = self._placed(q, self.query_norm, inputs), self._placed(k, self.key_norm, inputs)
        return self.output(core(q, k, v, inputs), inputs), k, v

    def keys_values(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """The new keys and values alone."""
        k, v = self.qkv.keys_values(x, inputs)
        return self._placed(k, self.key_norm, inputs), v
