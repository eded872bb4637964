"""The decoder block: attention and MLP on a residual stream, in each order that the families use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pocketlora_export.graphs.decoder import Block
from pocketlora_export.graphs.parts.attention import Core, SelfAttention
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.parts.mlp import Mlp
from pocketlora_export.graphs.parts.norm import Norm
from pocketlora_export.graphs.stage import InputSpec, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.graphs.weights import WeightSpec


class _Applied(NamedTuple):
    """What a block computes: the new stream [N, H], new keys and values [N, Hkv*D], the MLP's first products."""

    hidden: Tensor
    k: Tensor
    v: Tensor
    products: tuple[Tensor, ...]


@dataclass(frozen=True)
class DecoderBlock:
    """A decoder layer of `hidden` features.

    Each norm is optional. Pre-norm: `attention_norm` and `mlp_norm` (Llama). Post-norm: `attention_out_norm` and
    `mlp_out_norm`, on what is added to the stream (OLMo-2). Both: all four (Gemma 2). `parallel`: the MLP reads what
    the attention reads, both are added at once (Phi-2), and only `attention_norm` is used. `residual_scale` multiplies
    what is added to the stream.
    """

    hidden: int
    attention: SelfAttention
    mlp: Mlp
    attention_norm: Norm | None = None
    attention_out_norm: Norm | None = None
    mlp_norm: Norm | None = None
    mlp_out_norm: Norm | None = None
    residual_scale: float = 1.0
    parallel: bool = False

    def _parts(self) -> list[Linear | Norm]:
        """Everything with weights, in layer order."""
        before = [self.attention_norm, *self.attention.parts(), self.attention_out_norm]
        parts = [*before, self.mlp_norm, *self.mlp.linears(), self.mlp_out_norm]
        return [part for part in parts if part is not None]

    def linears(self) -> list[Linear]:
        """The linear layers, in layer order."""
        return [part for part in self._parts() if isinstance(part, Linear)]

    def weights(self) -> list[WeightSpec]:
        """Tensors of the checkpoint in layer order, named relative to the layer."""
        return [weight for part in self._parts() for weight in part.weights()]

    def _key_value_parts(self) -> list[Linear | Norm]:
        """Those that new keys and values come from."""
        norms = [] if self.attention_norm is None else [self.attention_norm]
        return [*norms, *self.attention.key_value_parts()]

    def _bound_inputs(self, parts: list[Linear | Norm] | None = None) -> tuple[InputSpec, ...]:
        """Weights in layer order, then adapters in layer order; of all parts unless told of which."""
        specs = [spec for part in (self._parts() if parts is None else parts) for spec in part.inputs()]
        ordered = [[spec for spec in specs if spec.source == source] for source in ("weight", "adapter")]
        return tuple(ordered[0] + ordered[1])

    def _add(self, x: Tensor, y: Tensor, norm: Norm | None, inputs: Tensors) -> Tensor:
        y = y if norm is None else norm(y, inputs)
        return x + y if self.residual_scale == 1.0 else torch.add(x, y, alpha=self.residual_scale)

    def _read(self, inputs: Tensors) -> Tensor:
        """What the attention reads of the stream."""
        x = inputs["hidden"]
        return x if self.attention_norm is None else self.attention_norm(x, inputs)

    def _apply(self, inputs: Tensors, core: Core) -> _Applied:
        x, read = inputs["hidden"], self._read(inputs)
        attended, k, v = self.attention(read, inputs, core)
        x = self._add(x, attended, self.attention_out_norm, inputs)
        if not self.parallel:
            read = x if self.mlp_norm is None else self.mlp_norm(x, inputs)
        products = tuple(linear(read, inputs) for linear in self.mlp.kept())
        return _Applied(self._add(x, self.mlp(products, inputs), self.mlp_out_norm, inputs), k, v, products)

    def _activations(self) -> tuple[InputSpec, ...]:
        return runtime_input("hidden", ("N", self.hidden)), *self.attention.activations()

    def stages(self) -> Block:
        """The stages of this kind of layer."""
        keep, known = self._keeping_stages()
        return Block(
            self.forward_stage(),
            keep,
            known,
            self.cached_stage("prefill"),
            self.cached_stage("decode"),
            self.keys_stage(),
            self.attention.window,
        )

    def _training_inputs(self) -> tuple[InputSpec, ...]:
        return (
            *self._activations(),
            runtime_input("segments", ("S1",), torch.int64),
            runtime_input("dropout", (1,)),
            runtime_input("seed", (1,), torch.int64),
        )

    def _hidden_output(self) -> OutputSpec:
        return OutputSpec("hidden", torch.float32, ("N", self.hidden))

    def forward_stage(self) -> Stage:
        """Training forward over packed segments: hidden f32 [N, H] -> hidden f32 [N, H]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            return (self._apply(inputs, self.attention.packed()).hidden,)

        return Stage("block_forward", (*self._training_inputs(), *self._bound_inputs()), (self._hidden_output(),), run)

    def _keeping_stages(self) -> tuple[Stage, Stage]:
        """The training forward that puts out the MLP's first products too, and the one that is given them."""
        forward = self.forward_stage()

        def keep(inputs: Tensors) -> tuple[Tensor, ...]:
            applied = self._apply(inputs, self.attention.packed())
            return applied.hidden, *applied.products

        products = [(linear.kept, ("N", linear.spec.rows)) for linear in self.mlp.kept()]
        outputs = (*forward.outputs, *(OutputSpec(name, torch.float32, shape) for name, shape in products))
        given = [runtime_input(name, shape) for name, shape in products]
        inputs = (*self._training_inputs(), *given, *self._bound_inputs())
        return (
            Stage("block_forward_keep", forward.inputs, outputs, keep),
            Stage("block_forward_known", inputs, forward.outputs, forward.function),
        )

    def _new_rows(self) -> tuple[OutputSpec, ...]:
        """New keys and values."""
        return tuple(OutputSpec(kind, torch.float32, ("N", self.attention.kv_width)) for kind in ("k", "v"))

    def keys_stage(self) -> Stage:
        """The new rows of keys and values of a prefill [N, Hkv*D], and nothing else of the layer."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            return self.attention.keys_values(self._read(inputs), inputs)

        inputs = (*self._activations(), *self._bound_inputs(self._key_value_parts()))
        return Stage("block_keys", inputs, self._new_rows(), run)

    def cached_stage(self, name: str) -> Stage:
        """Inference over the KV cache: hidden -> hidden, and the new rows of keys and values [N, Hkv*D]."""

        def run(inputs: Tensors) -> tuple[Tensor, ...]:
            applied = self._apply(inputs, self.attention.cached())
            return applied.hidden, applied.k, applied.v

        # Bytes: the runtime chooses the rows' format. fp32 is the largest.
        row = f"K:{self.attention.kv_width * torch.float32.itemsize}"
        cache = [runtime_input(f"{kind}_cache", ("C", row), torch.uint8) for kind in ("k", "v")]
        inputs = (*self._activations(), runtime_input("past", (1,), torch.int64), *cache)
        outputs = (self._hidden_output(), *self._new_rows())
        return Stage(f"block_{name}", (*inputs, *self._bound_inputs()), outputs, run)
