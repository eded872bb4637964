"""A frozen 4-bit linear layer, with or without a LoRA site."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.stage import InputSpec, Tensors
from pocketlora_export.graphs.weights import WeightSpec
from pocketlora_export.q4 import SCHEME_IDS, Q4Spec


@dataclass(frozen=True)
class Linear:
    """A linear layer of a decoder layer.

    `name` is relative to the layer, as in Hugging Face ("self_attn.q_proj"); `site` numbers the LoRA site for its
    dropout mask.
    """

    name: str
    spec: Q4Spec
    bias: bool
    lora: bool
    site: int

    @property
    def module(self) -> str:
        """The module's own name, as adapters target it ("q_proj")."""
        return self.name.rpartition(".")[2]

    def weights(self) -> list[WeightSpec]:
        """Weight [out, in] and bias [out]."""
        rows, cols = self.spec.rows, self.spec.cols
        bias = [WeightSpec(f"{self.name}.bias", (rows,), "bias")] if self.bias else []
        return [WeightSpec(f"{self.name}.weight", (rows, cols), "linear"), *bias]

    def inputs(self) -> list[InputSpec]:
        """Weight, bias, then the adapter's A [R, in], B [out, R] and scale [R]."""
        specs = [InputSpec(f"{self.name}.weight", "weight", torch.uint8, self.spec.shape)]
        if self.bias:
            specs.append(InputSpec(f"{self.name}.bias", "weight", torch.float32, (self.spec.rows,)))
        if self.lora:
            rank = f"R:{self.name}"
            specs += [
                InputSpec(f"{self.name}.lora_A", "adapter", torch.float32, (rank, self.spec.cols)),
                InputSpec(f"{self.name}.lora_B", "adapter", torch.float32, (self.spec.rows, rank)),
                InputSpec(f"{self.name}.lora_scale", "adapter", torch.float32, (rank,)),
            ]
        return specs

    @property
    def kept(self) -> str:
        """What its result is called where a stage keeps it, or is given it."""
        return f"{self.name}.kept"

    def __call__(self, x: Tensor, inputs: Tensors) -> Tensor:
        """x f32 [N, in] -> f32 [N, out]: the kept result where `inputs` has it, with the gradients of the product."""
        q4 = (self.spec.rows, self.spec.cols, SCHEME_IDS[self.spec.scheme], self.spec.group_size)
        weight, bias = inputs[f"{self.name}.weight"], inputs.get(f"{self.name}.bias")
        known = inputs.get(self.kept)
        y: Tensor
        if not self.lora:
            product = (x, weight, bias, *q4)
            y = ops.linear4(*product) if known is None else ops.known_linear4(known, *product)
            return y
        adapter = [inputs[f"{self.name}.{part}"] for part in ("lora_A", "lora_B", "lora_scale")]
        mask = (inputs.get("dropout"), inputs.get("seed"), self.site)
        adapted = (x, weight, bias, *adapter, *mask, *q4)
        y = ops.lora_linear(*adapted) if known is None else ops.known_lora_linear(known, *adapted)
        return y
