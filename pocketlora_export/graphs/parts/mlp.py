"""The gated MLP: down(silu(gate(x)) * up(x))."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.stage import InputSpec, Tensors


@dataclass(frozen=True)
class GatedMlp:
    """SwiGLU MLP of three linear layers."""

    gate: Linear
    up: Linear
    down: Linear

    def inputs(self) -> list[InputSpec]:
        """Inputs of gate, up and down, in that order."""
        return [spec for part in (self.gate, self.up, self.down) for spec in part.inputs()]

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """f32 [N, H] -> f32 [N, H]."""
        return self.down(ops.swiglu(self.gate(x, inputs), self.up(x, inputs)), inputs)
