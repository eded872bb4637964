"""MLPs: down(act(gate(x)) * up(x)), with gate and up in two linear layers or in one, and down(act(up(x)))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.columns import columns
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.stage import Tensors

# act(gate) * up, by the activation's name in Hugging Face configs.
GATED = {"silu": ops.swiglu, "gelu_pytorch_tanh": ops.geglu_tanh}
# act, likewise.
ACTIVATIONS = {"gelu_new": ops.gelu_tanh, "gelu_pytorch_tanh": ops.gelu_tanh}


class Mlp(Protocol):
    """What a block asks of its MLP."""

    def linears(self) -> list[Linear]:
        """The linear layers, in layer order."""

    def kept(self) -> list[Linear]:
        """The linear layers that read the MLP's input f32 [N, H]: the widest products of a block, worth keeping."""

    def __call__(self, products: Sequence[Tensor], inputs: Tensors) -> Tensor:
        """From the results of `kept`, f32 [N, out] each, to f32 [N, H]."""


@dataclass(frozen=True)
class GatedMlp:
    """Three linear layers; `activation` is a key of GATED."""

    gate: Linear
    up: Linear
    down: Linear
    activation: str = "silu"

    def linears(self) -> list[Linear]:
        """gate, up, down."""
        return [self.gate, self.up, self.down]

    def kept(self) -> list[Linear]:
        """gate, up."""
        return [self.gate, self.up]

    def __call__(self, products: Sequence[Tensor], inputs: Tensors) -> Tensor:
        """See `Mlp`."""
        gate, up = products
        return self.down(GATED[self.activation](gate, up), inputs)


@dataclass(frozen=True)
class FusedGatedMlp:
    """gate and up in one linear layer, gate's rows first; its LoRA site is the fused module."""

    gate_up: Linear
    down: Linear
    activation: str = "silu"

    def linears(self) -> list[Linear]:
        """gate_up, down."""
        return [self.gate_up, self.down]

    def kept(self) -> list[Linear]:
        """gate_up."""
        return [self.gate_up]

    def __call__(self, products: Sequence[Tensor], inputs: Tensors) -> Tensor:
        """See `Mlp`."""
        gate, up = columns(products[0], [self.down.spec.cols] * 2)
        return self.down(GATED[self.activation](gate, up), inputs)


@dataclass(frozen=True)
class PlainMlp:
    """Two linear layers without a gate; `activation` is a key of ACTIVATIONS."""

    up: Linear
    down: Linear
    activation: str

    def linears(self) -> list[Linear]:
        """up, down."""
        return [self.up, self.down]

    def kept(self) -> list[Linear]:
        """up."""
        return [self.up]

    def __call__(self, products: Sequence[Tensor], inputs: Tensors) -> Tensor:
        """See `Mlp`."""
        return self.down(ACTIVATIONS[self.activation](products[0]), inputs)
