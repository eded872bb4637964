"""The pre-norm decoder block: x + attention(norm(x)), then x + mlp(norm(x))."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlora_export.graphs.parts.attention import Core, SelfAttention
from pocketlora_export.graphs.parts.mlp import GatedMlp
from pocketlora_export.graphs.parts.norm import RmsNorm
from pocketlora_export.graphs.stage import InputSpec, OutputSpec, Stage, Tensors, runtime_input


@dataclass(frozen=True)
class PreNormBlock:
    """A decoder layer of `hidden` features whose KV rows have `kv_width` values."""

    attention_norm: RmsNorm
    attention: SelfAttention
    mlp_norm: RmsNorm
    mlp: GatedMlp
    hidden: int
    kv_width: int

    def _bound_inputs(self) -> tuple[InputSpec, ...]:
        """Weights in layer order, then adapters in layer order."""
        specs = [
            spec for part in (self.attention_norm, self.attention, self.mlp_norm, self.mlp) for spec in part.inputs()
        ]
        ordered = [[spec for spec in specs if spec.source == source] for source in ("weight", "adapter")]
        return tuple(ordered[0] + ordered[1])

    def _apply(self, inputs: Tensors, core: Core) -> tuple[Tensor, Tensor, Tensor]:
        x = inputs["hidden"]
        attended, k, v = self.attention(self.attention_norm(x, inputs), inputs, core)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x, inputs), inputs), k, v

    def _activations(self) -> tuple[InputSpec, ...]:
        rope = runtime_input("rope", ("N", self.attention.head_dim))
        return runtime_input("hidden", ("N", self.hidden)), rope

    def forward_stage(self) -> Stage:
        """Training forward over packed segments: hidden f32 [N, H] -> hidden f32 [N, H]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            return self._apply(inputs, self.attention.packed())[:1]

        inputs = (
            *self._activations(),
            runtime_input("segments", ("S1",), torch.int64),
            runtime_input("dropout", (1,)),
            runtime_input("seed", (1,), torch.int64),
        )
        outputs = (OutputSpec("hidden", torch.float32, ("N", self.hidden)),)
        return Stage("block_forward", (*inputs, *self._bound_inputs()), outputs, run)

    def cached_stage(self, name: str) -> Stage:
        """Inference over the KV cache: hidden -> hidden, and the new rows of keys and values [N, Hkv*D]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            return self._apply(inputs, self.attention.cached())

        # Bytes: the runtime chooses the rows' format. fp32 is the largest.
        row = f"K:{self.kv_width * torch.float32.itemsize}"
        cache = [runtime_input(f"{kind}_cache", ("C", row), torch.uint8) for kind in ("k", "v")]
        inputs = (*self._activations(), runtime_input("past", (1,), torch.int64), *cache)
        rows = [OutputSpec(kind, torch.float32, ("N", self.kv_width)) for kind in ("k", "v")]
        outputs = (OutputSpec("hidden", torch.float32, ("N", self.hidden)), *rows)
        return Stage(f"block_{name}", (*inputs, *self._bound_inputs()), outputs, run)
