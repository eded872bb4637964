"""Projections to queries, keys and values: three linear layers, or one whose output is split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pocketlora_export.graphs.parts.columns import columns
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.stage import Tensors


class Qkv(Protocol):
    """What attention asks of its projections."""

    def linears(self) -> list[Linear]:
        """The linear layers, in layer order."""

    def key_value_linears(self) -> list[Linear]:
        """Those that keys and values come from."""

    def __call__(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """f32 [N, H] -> queries [N, Hq*D], keys and values [N, Hkv*D]."""

    def keys_values(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """The same without the queries."""


@dataclass(frozen=True)
class SeparateQkv:
    """One linear layer each."""

    query: Linear
    key: Linear
    value: Linear

    def linears(self) -> list[Linear]:
        """q, k, v."""
        return [self.query, *self.key_value_linears()]

    def key_value_linears(self) -> list[Linear]:
        """k, v."""
        return [self.key, self.value]

    def __call__(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """See `Qkv`."""
        return self.query(x, inputs), *self.keys_values(x, inputs)

    def keys_values(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """See `Qkv`."""
        return self.key(x, inputs), self.value(x, inputs)


@dataclass(frozen=True)
class FusedQkv:
    """One linear layer whose rows are those of queries, keys and values; its LoRA site is the fused module."""

    fused: Linear
    query_width: int
    kv_width: int

    def linears(self) -> list[Linear]:
        """The fused one."""
        return [self.fused]

    def key_value_linears(self) -> list[Linear]:
        """The fused one, too."""
        return [self.fused]

    def __call__(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """See `Qkv`."""
        q, k, v = columns(self.fused(x, inputs), [self.query_width, self.kv_width, self.kv_width])
        return q, k, v

    def keys_values(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """See `Qkv`."""
        return self(x, inputs)[1:]


@dataclass(frozen=True)
class ClippedQkv:
    """Projections whose results are held within [-bound, bound]."""

    inner: Qkv
    bound: float

    def linears(self) -> list[Linear]:
        """Those of `inner`."""
        return self.inner.linears()

    def key_value_linears(self) -> list[Linear]:
        """Those of `inner`."""
        return self.inner.key_value_linears()

    def _clipped(self, y: Tensor) -> Tensor:
        return torch.clamp(y, -self.bound, self.bound)

    def __call__(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """See `Qkv`."""
        q, k, v = (self._clipped(y) for y in self.inner(x, inputs))
        return q, k, v

    def keys_values(self, x: Tensor, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """See `Qkv`."""
        k, v = (self._clipped(y) for y in self.inner.keys_values(x, inputs))
        return k, v
