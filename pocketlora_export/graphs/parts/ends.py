"""The two ends of a decoder: token embedding with the rotary tables, and final norm with the LM head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.norm import Norm
from pocketlora_export.graphs.stage import InputSpec, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.q4 import SCHEME_IDS, Q4Spec


def _q4(spec: Q4Spec) -> tuple[int, int, int, int]:
    return spec.rows, spec.cols, SCHEME_IDS[spec.scheme], spec.group_size


@dataclass(frozen=True, eq=False)
class RotaryTable:
    """A table of cos and sin by its name. `inv_freq` f32 [dim / 2], a constant of the program; `scaling` of both."""

    name: str
    inv_freq: Tensor
    scaling: float

    @property
    def dim(self) -> int:
        """Columns of the table: entries of a head that it rotates."""
        return 2 * self.inv_freq.shape[0]


@dataclass(frozen=True)
class Embedding:
    """The quantized embedding [V, H], what its rows are multiplied with, and the rotary tables of the blocks."""

    table: Q4Spec
    rotary: Sequence[RotaryTable]
    scale: float = 1.0

    def stage(self) -> Stage:
        """tokens i64 [N], positions i64 [N] -> hidden f32 [N, H], and f32 [N, dim] for each rotary table."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            hidden: Tensor = ops.embedding(inputs["tokens"], inputs["embed_tokens.weight"], *_q4(self.table))
            hidden = hidden if self.scale == 1.0 else hidden * self.scale
            positions = inputs["positions"]
            return hidden, *(ops.rope_table(positions, table.inv_freq, table.scaling) for table in self.rotary)

        inputs = (
            runtime_input("tokens", ("N",), torch.int64),
            runtime_input("positions", ("N",), torch.int64),
            InputSpec("embed_tokens.weight", "weight", torch.uint8, self.table.shape),
        )
        tables = (OutputSpec(table.name, torch.float32, ("N", table.dim)) for table in self.rotary)
        outputs = (OutputSpec("hidden", torch.float32, ("N", self.table.cols)), *tables)
        return Stage("embed", inputs, outputs, run)


@dataclass(frozen=True)
class Head:
    """Final norm and LM head (tied or not: only the bound tensor differs).

    `scale` of the logits; `softcap`: a bound that they approach, 0 = none; `bias`: whether the head has one.
    """

    norm: Norm
    matrix: Q4Spec
    scale: float = 1.0
    softcap: float = 0.0
    bias: bool = False

    def _weights(self) -> tuple[InputSpec, ...]:
        weight = InputSpec("lm_head.weight", "weight", torch.uint8, self.matrix.shape)
        bias = [InputSpec("lm_head.bias", "weight", torch.float32, (self.matrix.rows,))] if self.bias else []
        return (*self.norm.inputs(), weight, *bias)

    def _normed(self, hidden: Tensor, inputs: Tensors) -> Tensor:
        """The head is linear (there is no bias beside a scale), so its input is scaled: H values a row, not V."""
        normed = self.norm(hidden, inputs)
        return normed if self.scale == 1.0 else normed * self.scale

    def logits_stage(self) -> Stage:
        """hidden f32 [1, H] -> logits f32 [1, V]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            normed = self._normed(inputs["hidden"], inputs)
            bias = inputs.get("lm_head.bias")
            logits: Tensor = ops.linear4(normed, inputs["lm_head.weight"], bias, *_q4(self.matrix))
            return (logits if self.softcap == 0 else ops.soft_cap(logits, self.softcap),)

        hidden = runtime_input("hidden", ("N", self.matrix.cols))
        outputs = (OutputSpec("logits", torch.float32, ("N", self.matrix.rows)),)
        return Stage("head", (hidden, *self._weights()), outputs, run)

    def loss_stage(self) -> Stage:
        """hidden f32 [N, H], labels i64 [N], weights f32 [N] -> logprobs f32 [N], loss f32 [1], grad_hidden [N, H]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            hidden = inputs["hidden"].detach().requires_grad_()
            normed = self._normed(hidden, inputs)
            logprobs, loss, grad_normed = ops.head_loss(
                *(normed, inputs["lm_head.weight"], inputs.get("lm_head.bias")),
                *(inputs["labels"], inputs["weights"], *_q4(self.matrix), self.softcap),
            )
            (grad_hidden,) = torch.autograd.grad(normed, hidden, grad_normed)
            return logprobs.detach(), loss.detach(), grad_hidden

        inputs = (
            runtime_input("hidden", ("N", self.matrix.cols)),
            runtime_input("labels", ("N",), torch.int64),
            runtime_input("weights", ("N",)),
        )
        outputs = (
            OutputSpec("logprobs", torch.float32, ("N",)),
            OutputSpec("loss", torch.float32, (1,)),
            OutputSpec("grad_hidden", torch.float32, ("N", self.matrix.cols)),
        )
        return Stage("head_loss", (*inputs, *self._weights()), outputs, run)
