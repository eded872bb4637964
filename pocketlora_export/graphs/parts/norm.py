"""Norms with frozen weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.stage import InputSpec, Tensors
from pocketlora_export.graphs.weights import Role, WeightSpec


class Norm(Protocol):
    """What a block asks of a norm."""

    def weights(self) -> list[WeightSpec]:
        """Its tensors in the checkpoint; none for a norm without parameters."""

    def inputs(self) -> list[InputSpec]:
        """The same as inputs of a stage."""

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """f32 [N, H] -> f32 [N, H]."""


_LAYER_NORM: tuple[tuple[str, Role], ...] = (("weight", "norm"), ("bias", "bias"))


def dense_inputs(weights: list[WeightSpec]) -> list[InputSpec]:
    """Inputs of a stage for tensors that are stored in fp32."""
    return [InputSpec(weight.name, "weight", torch.float32, weight.shape) for weight in weights]


@dataclass(frozen=True)
class LayerNorm:
    """LayerNorm over groups of `size` values, as `RmsNorm`; without parameters it has no name and takes whole rows."""

    name: str | None
    size: int
    eps: float

    def weights(self) -> list[WeightSpec]:
        """Weight and bias, [size] each."""
        if self.name is None:
            return []
        return [WeightSpec(f"{self.name}.{part}", (self.size,), role) for part, role in _LAYER_NORM]

    def inputs(self) -> list[InputSpec]:
        """Weight and bias, f32 [size] each."""
        return dense_inputs(self.weights())

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """f32 [N, groups * size] -> the same shape."""
        weight, bias = (inputs.get(f"{self.name}.{part}") for part, _ in _LAYER_NORM)
        normed: Tensor = ops.layer_norm(x, weight, bias, self.eps)
        return normed


@dataclass(frozen=True)
class RmsNorm:
    """RMSNorm over groups of `size` values: a whole row, or each head of a row by itself.

    `name` is relative to the layer ("input_layernorm"). `offset` is added to the weight (Gemma stores weight - 1).
    """

    name: str
    size: int
    eps: float
    offset: float = 0.0

    def weights(self) -> list[WeightSpec]:
        """The weight, [size]."""
        return [WeightSpec(f"{self.name}.weight", (self.size,), "norm")]

    def inputs(self) -> list[InputSpec]:
        """The weight, f32 [size]."""
        return dense_inputs(self.weights())

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """f32 [N, groups * size] -> the same shape."""
        weight = inputs[f"{self.name}.weight"]
        normed: Tensor = ops.rms_norm(x, weight + self.offset if self.offset else weight, self.eps)
        return normed
