"""Capture of a stage for Vulkan: every size fixed, weights as constants, our ops replaced by what a delegate takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from pocketlora_export.errors import Status, raise_all
from pocketlora_export.graphs.capture import flat_graph
from pocketlora_export.graphs.stage import Dim, InputSpec, Limits, Source, Stage
from pocketlora_export.lower.vulkan import attention, head_loss, linear, pointwise
from pocketlora_export.lower.vulkan.limits import DeviceLimits, buffer_problems
from pocketlora_export.lower.vulkan.weights import PackedMatrix, PackedRows, WeightSource, spec_problems
from pocketlora_export.ops.library import NAMESPACE
from pocketlora_export.q4 import SCHEME_NAMES, Q4Spec

Weight = Tensor | PackedMatrix
Weights = Mapping[str, Weight]

# What is traced in the place of each custom op. Dropout and caches of fewer bits are left out (docs/vulkan.md).
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "attention": attention.forward,
    "attention_backward": attention.backward,
    "attention_cached": attention.cached,
    "embedding": linear.embedding,
    "geglu_tanh": pointwise.geglu_tanh,
    "geglu_tanh_backward": pointwise.geglu_tanh_backward,
    "gelu_tanh": pointwise.gelu_tanh,
    "gelu_tanh_backward": pointwise.gelu_tanh_backward,
    "head_loss": head_loss.head_loss,
    "layer_norm": pointwise.layer_norm,
    "layer_norm_backward": pointwise.layer_norm_backward,
    "linear4": linear.linear,
    "linear4_backward": linear.linear_backward,
    "lora_linear": linear.lora,
    "lora_linear_backward": linear.lora_backward,
    "rms_norm": pointwise.rms_norm,
    "rms_norm_backward": pointwise.rms_norm_backward,
    "rope": pointwise.rope,
    "rope_table": pointwise.rope_table,
    "soft_cap": pointwise.soft_cap,
    "swiglu": pointwise.swiglu,
    "swiglu_backward": pointwise.swiglu_backward,
}
# Inputs that no op of a Vulkan stage reads.
_DROPPED = ("dropout", "seed")


@dataclass(frozen=True)
class FixedInput:
    """An input of a Vulkan stage, every dimension a number."""

    name: str
    source: Source
    dtype: torch.dtype
    shape: tuple[int, ...]

    def example(self) -> Tensor:
        """Zeros of its shape."""
        return torch.zeros(self.shape, dtype=self.dtype)


def fixed_inputs(stage: Stage, rows: int, limits: Limits) -> list[FixedInput]:
    """The inputs that stay inputs: those of the runtime and the adapters, at their largest.

    A cache is rows of floats here, since a shader cannot read bytes as numbers.
    """
    kept = [spec for spec in stage.inputs if spec.source != "weight" and spec.name not in _DROPPED]
    return [_fixed(spec, rows, limits) for spec in kept]


def _fixed(spec: InputSpec, rows: int, limits: Limits) -> FixedInput:
    shape = fixed_shape(spec.shape, rows, limits)
    if spec.dtype == torch.uint8:
        return FixedInput(spec.name, spec.source, torch.float32, (shape[0], shape[1] // torch.float32.itemsize))
    return FixedInput(spec.name, spec.source, spec.dtype, shape)


def fixed_shape(shape: tuple[Dim, ...], rows: int, limits: Limits) -> tuple[int, ...]:
    """A shape with every dynamic dimension at its bound."""
    return tuple(dim if isinstance(dim, int) else _bound(dim, rows, limits) for dim in shape)


def _bound(dim: str, rows: int, limits: Limits) -> int:
    return limits.max_rank if dim.startswith("R") else limits.bound(dim, rows)


class _Constants(torch.nn.Module):
    """A traced stage whose weights are buffers, walked op by op."""

    def __init__(
        self, traced: torch.fx.GraphModule, names: Sequence[str], inputs: Sequence[str], weights: Weights
    ) -> None:
        super().__init__()
        self._traced, self._names, self._inputs, self._weights = traced, names, inputs, weights
        self._folded, self._fields = _folded(traced, names, weights), _fields(traced, names)
        tensors = [
            tensor for name, weight in weights.items() for tensor in _tensors(weight, self._fields.get(name, ()))
        ]
        tensors += self._folded.values()
        self._count = len(tensors)
        for number, tensor in enumerate(tensors):
            self.register_buffer(f"weight_{number}", tensor)

    def forward(self, *inputs: Tensor) -> Any:
        """Run the stage."""
        # The registered ones, which torch.export follows, in the places of the tensors that they were made from.
        buffers = (getattr(self, f"weight_{number}") for number in range(self._count))
        bound: dict[str, Any] = {
            name: _rebuilt(weight, self._fields.get(name, ()), buffers) for name, weight in self._weights.items()
        }
        folded = {node: next(buffers) for node in self._folded}
        bound |= dict(zip(self._inputs, inputs, strict=True))
        return _Walk(self._traced, folded).run(*(bound.get(name) for name in self._names))


def _tensors(weight: Weight, fields: Sequence[str]) -> list[Tensor]:
    if isinstance(weight, Tensor):
        return [weight]
    return [getattr(part, field) for part in weight.parts for field in fields]


def _rebuilt(weight: Weight, fields: Sequence[str], buffers: Iterator[Tensor]) -> Weight:
    if isinstance(weight, Tensor):
        return next(buffers)
    return PackedMatrix(tuple(_refilled(part, fields, buffers) for part in weight.parts))


def _refilled(part: PackedRows, fields: Sequence[str], buffers: Iterator[Tensor]) -> PackedRows:
    found: dict[str, Any] = {field: next(buffers) for field in fields}
    return replace(part, **found)


def _readers(traced: torch.fx.GraphModule, names: Sequence[str]) -> dict[str, list[torch.fx.Node]]:
    """Our ops that read each input."""
    return {
        name: [user for user in node.users if getattr(user.target, "namespace", None) == NAMESPACE]
        for node, name in zip(traced.graph.find_nodes(op="placeholder"), names, strict=True)
    }


def _fields(traced: torch.fx.GraphModule, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What of a packed matrix its readers need; nothing else becomes a constant of the program."""
    found = {}
    for name, readers in _readers(traced, names).items():
        ops = {_name(reader.target) for reader in readers}
        rows, products = ops & {"embedding", "head_loss"}, ops - {"embedding"}
        found[name] = ("codes", *(["scales"] if products else []), *(["row_scales"] if rows else []))
    return found


def _name(op: Any) -> str:
    name: str = op._schema.name
    return name.removeprefix(f"{NAMESPACE}::")


def _folded(traced: torch.fx.GraphModule, names: Sequence[str], weights: Weights) -> dict[torch.fx.Node, Tensor]:
    """Values that depend on weights alone (Gemma's weight + 1): the runtime wants norms' weights as constants."""
    known: dict[torch.fx.Node, Tensor] = {}
    found: dict[torch.fx.Node, Tensor] = {}
    placeholders = traced.graph.find_nodes(op="placeholder")
    for node, name in zip(placeholders, names, strict=True):
        weight = weights.get(name)
        if isinstance(weight, Tensor):
            known[node] = weight
    for node in traced.graph.nodes:
        inputs = node.all_input_nodes
        is_aten = node.op == "call_function" and getattr(node.target, "namespace", None) == "aten"
        if is_aten and inputs and set(inputs) <= set(known):
            arguments = torch.fx.node.map_arg(node.args, lambda argument: known[argument])
            known[node] = found[node] = node.target(*arguments, **node.kwargs)
    return found


class _Walk(torch.fx.Interpreter):
    """Runs a traced stage with our ops replaced and with values that are known."""

    def __init__(self, traced: torch.fx.GraphModule, known: Mapping[torch.fx.Node, Tensor]) -> None:
        super().__init__(traced)
        self._known = known

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node."""
        return self._known[n] if n in self._known else super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one op."""
        if getattr(target, "namespace", None) == NAMESPACE:
            target = DECOMPOSITIONS[_name(target)]
        return target(*args, **kwargs)


def _matrices(traced: torch.fx.GraphModule, names: Sequence[str]) -> dict[str, Q4Spec]:
    """The 4-bit matrices among the inputs, by name, as the ops that read them say."""
    by_node = dict(zip(traced.graph.find_nodes(op="placeholder"), names, strict=True))
    found = {}
    for node in traced.graph.nodes:
        if getattr(node.target, "namespace", None) == NAMESPACE:
            arguments = (argument.name for argument in node.target._schema.arguments)
            given = dict(zip(arguments, node.args, strict=False))
            if "quant" in given:
                spec = Q4Spec(given["n"], given["k"], SCHEME_NAMES[given["quant"]], given["group"])
                found[by_node[given["w"]]] = spec
    return found


def capture_fixed(
    stage: Stage, rows: int, limits: Limits, source: WeightSource, device: DeviceLimits
) -> ExportedProgram:
    """Trace a stage for Vulkan.

    Args:
        stage: what to capture.
        rows: the number of token rows, fixed.
        limits: ranks, segments and the context are fixed at their bounds.
        source: what is bound to the weight inputs.
        device: limits that no value may exceed.

    Returns:
        A program of aten and et_vk ops; its inputs are `fixed_inputs`, its constants the weights.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED with every matrix and every value that cannot be lowered.
    """
    names, inputs = [spec.name for spec in stage.inputs], fixed_inputs(stage, rows, limits)
    traced = flat_graph(stage, [_placeholder(spec, rows, limits) for spec in stage.inputs])
    matrices = _matrices(traced, names)
    refused = [f"{stage.name}: {name}: {p}" for name, spec in matrices.items() for p in spec_problems(spec)]
    raise_all(Status.INPUT_UNSUPPORTED, "backend vulkan cannot lower these matrices:", refused)
    weights: dict[str, Weight] = {
        spec.name: source.matrix(spec.name, matrix, device.part_rows(matrix.cols, rows))
        if (matrix := matrices.get(spec.name)) is not None
        else source.dense(spec.name, tuple(int(size) for size in spec.shape))
        for spec in stage.inputs
        if spec.source == "weight"
    }
    module = _Constants(traced, names, [spec.name for spec in inputs], weights)
    with torch.no_grad():
        program = torch.export.export(module, tuple(spec.example() for spec in inputs), strict=False)
    raise_all(Status.INPUT_UNSUPPORTED, "backend vulkan: too large:", buffer_problems(program, stage.name, device))
    return program


def _placeholder(spec: InputSpec, rows: int, limits: Limits) -> Tensor:
    return torch.empty(fixed_shape(spec.shape, rows, limits), dtype=spec.dtype)
