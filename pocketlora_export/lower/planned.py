"""Where a lowered program's memory plan puts each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from executorch.exir import ExecutorchProgramManager
from torch import Tensor

from pocketlora_export.graphs.stage import Stage
from pocketlora_export.graphs.trace import dimension_names, nbytes, user_inputs
from pocketlora_export.lower.spec import PlannedTensor


def planned_tensors(program: ExecutorchProgramManager, stage: Stage) -> tuple[PlannedTensor, ...]:
    """The tensors of one method's arena, each once, in order of their place."""
    method = program.exported_program(stage.name)
    names = dimension_names(user_inputs(method), stage.inputs)
    found = {
        PlannedTensor(spec.mem_id, spec.mem_offset, nbytes(value, names))
        for node in method.graph.nodes
        for spec, value in _specs(node.meta)
        if spec.mem_id is not None
    }
    return tuple(sorted(found, key=lambda tensor: (tensor.memory, tensor.offset, tensor.nbytes.terms)))


def fixed_dimensions(program: ExecutorchProgramManager, stage: Stage, rows: int) -> list[str]:
    """Dynamic dimensions of a lowered stage's inputs that came out fixed, so that the runtime could bind nothing else.

    It happens where the decomposition of an op asks for a size.
    """
    values = user_inputs(program.exported_program(stage.name))
    return [
        f"{stage.name}: input '{spec.name}': dimension {dim} came out as {size}"
        for value, spec in zip(values, stage.inputs, strict=True)
        for size, dim in zip(list[int | torch.SymInt](value.shape), spec.shape, strict=True)
        if isinstance(dim, str) and not isinstance(size, torch.SymInt) and not (dim == "N" and rows == 1)
    ]


def _specs(meta: dict[str, Any]) -> Iterator[tuple[Any, Tensor]]:
    """(plan, fake tensor) of each result of a node."""
    specs, values = meta.get("spec"), meta.get("val")
    if not isinstance(specs, (list, tuple)):
        specs, values = [specs], [values]
    for spec, value in zip(specs, values or [], strict=False):
        if spec is not None and isinstance(value, Tensor):
            yield spec, value
