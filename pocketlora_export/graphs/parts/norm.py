"""RMSNorm with a frozen weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.stage import InputSpec, Tensors


@dataclass(frozen=True)
class RmsNorm:
    """`name` is relative to the layer ("input_layernorm")."""

    name: str
    size: int
    eps: float

    def inputs(self) -> list[InputSpec]:
        """The weight, f32 [size]."""
        return [InputSpec(f"{self.name}.weight", "weight", torch.float32, (self.size,))]

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """f32 [N, size] -> f32 [N, size]."""
        normed: Tensor = ops.rms_norm(x, inputs[f"{self.name}.weight"], self.eps)
        return normed
