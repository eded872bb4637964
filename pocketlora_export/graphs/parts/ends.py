"""The two ends of a decoder: token embedding with the rotary table, and final norm with the LM head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.parts.norm import RmsNorm
from pocketlora_export.graphs.stage import InputSpec, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.q4 import SCHEME_IDS, Q4Spec


def _q4(spec: Q4Spec) -> tuple[int, int, int, int]:
    return spec.rows, spec.cols, SCHEME_IDS[spec.scheme], spec.group_size


def embed_stage(table: Q4Spec, inv_freq: Tensor, rope_scaling: float) -> Stage:
    """tokens i64 [N], positions i64 [N] -> hidden f32 [N, H], rope f32 [N, D].

    Args:
        table: the quantized embedding [V, H].
        inv_freq: f32 [D/2] rotary frequencies, a constant of the program.
        rope_scaling: factor on cos and sin.
    """

    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        hidden = ops.embedding(inputs["tokens"], inputs["embed_tokens.weight"], *_q4(table))
        return hidden, ops.rope_table(inputs["positions"], inv_freq, rope_scaling)

    inputs = (
        runtime_input("tokens", ("N",), torch.int64),
        runtime_input("positions", ("N",), torch.int64),
        InputSpec("embed_tokens.weight", "weight", torch.uint8, table.shape),
    )
    rope_size = 2 * inv_freq.shape[0]
    outputs = (
        OutputSpec("hidden", torch.float32, ("N", table.cols)),
        OutputSpec("rope", torch.float32, ("N", rope_size)),
    )
    return Stage("embed", inputs, outputs, run)


@dataclass(frozen=True)
class Head:
    """Final norm and LM head (tied or not: only the bound tensor differs)."""

    norm: RmsNorm
    matrix: Q4Spec

    def _weights(self) -> tuple[InputSpec, ...]:
        return (*self.norm.inputs(), InputSpec("lm_head.weight", "weight", torch.uint8, self.matrix.shape))

    def logits_stage(self) -> Stage:
        """hidden f32 [1, H] -> logits f32 [1, V]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            normed = self.norm(inputs["hidden"], inputs)
            return (ops.linear4(normed, inputs["lm_head.weight"], None, *_q4(self.matrix)),)

        hidden = runtime_input("hidden", ("N", self.matrix.cols))
        outputs = (OutputSpec("logits", torch.float32, ("N", self.matrix.rows)),)
        return Stage("head", (hidden, *self._weights()), outputs, run)

    def loss_stage(self) -> Stage:
        """hidden f32 [N, H], labels i64 [N], weights f32 [N] -> logprobs f32 [N], loss f32 [1], grad_hidden [N, H]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            hidden = inputs["hidden"].detach().requires_grad_()
            normed = self.norm(hidden, inputs)
            logprobs, loss, grad_normed = ops.head_loss(
                normed, inputs["lm_head.weight"], None, inputs["labels"], inputs["weights"], *_q4(self.matrix)
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
