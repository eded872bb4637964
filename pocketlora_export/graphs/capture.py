"""Capture of a stage as an ExportedProgram, backward included.

`make_fx` traces the stage with autograd inside (torch.export cannot), then torch.export re-traces the flat graph with
dynamic shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from pocketlora_export.graphs.stage import InputSpec, Limits, Stage
from pocketlora_export.ops.library import NAMESPACE

# What is traced in the place of a custom op, by the op's name without namespace.
Decompositions = Mapping[str, Callable[..., Any]]


class _Captured(torch.nn.Module):
    """A traced graph with a fixed number of positional inputs, as torch.export wants it."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = graph

    def forward(self, *inputs: Tensor) -> Any:
        return self.graph_module(*inputs)


def _example(spec: InputSpec, rows: int, limits: Limits) -> Tensor:
    """A small example; a dynamic dimension gets a size that torch.export does not specialize."""
    sizes = [dim if isinstance(dim, int) else min(limits.bound(dim, rows), 3) for dim in spec.shape]
    return torch.empty(sizes, dtype=spec.dtype)


def _dims(specs: Sequence[InputSpec], rows: int, limits: Limits) -> list[dict[int, Any]]:
    names = {dim for spec in specs for dim in spec.shape if isinstance(dim, str)}
    table = {
        name: Dim(f"d{index}", min=0 if name.startswith("R") else 1, max=limits.bound(name, rows))
        for index, name in enumerate(sorted(names))
        if not (name == "N" and rows == 1)
    }
    return [{axis: table[dim] for axis, dim in enumerate(spec.shape) if dim in table} for spec in specs]


def _drop_detach(traced: torch.fx.GraphModule) -> None:
    """`detach` is an identity once the gradient has been traced; a backend would copy for it."""
    for node in traced.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()


def flat_graph(stage: Stage, examples: Sequence[Tensor]) -> torch.fx.GraphModule:
    """Trace a stage, autograd inside, into ops on positional inputs; every size is that of the examples."""
    names = [spec.name for spec in stage.inputs]

    def positional(*tensors: Tensor) -> tuple[Tensor, ...]:
        return stage.function(dict(zip(names, tensors, strict=True)))

    # A mode of our own, because constants (rotary frequencies) are real tensors.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    traced = make_fx(positional, tracing_mode="fake")(*(mode.from_tensor(example) for example in examples))
    _drop_detach(traced)
    return traced


def _decompose(program: ExportedProgram, decompositions: Decompositions) -> ExportedProgram:
    """Replace custom ops by what their functions do, for every size of the dynamic dimensions.

    The functions see fake tensors with symbolic sizes: they may read shapes, never values.
    """
    namespace = getattr(torch.ops, NAMESPACE)
    table = {getattr(namespace, name).default: function for name, function in decompositions.items()}
    decomposed: ExportedProgram = program.run_decompositions(table)
    return decomposed


def capture(stage: Stage, rows: int, limits: Limits, decompositions: Decompositions | None = None) -> ExportedProgram:
    """Trace a stage.

    Args:
        stage: what to capture.
        rows: the largest number of token rows N; 1 makes N static.
        limits: bounds of the dynamic dimensions.
        decompositions: custom ops that do not stay custom; they are replaced once the gradient has been traced, so
            each op's own backward is what is decomposed.

    Returns:
        A functional program whose inputs are the stage's, in order; the only constants are small tables (rotary
        frequencies).
    """
    examples = [_example(spec, rows, limits) for spec in stage.inputs]
    traced = flat_graph(stage, examples)
    with torch.no_grad():
        program = torch.export.export(
            _Captured(traced), tuple(examples), dynamic_shapes=(tuple(_dims(stage.inputs, rows, limits)),), strict=False
        )
        return _decompose(program, decompositions) if decompositions else program
