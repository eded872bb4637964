"""A stage that would be lowered for one number of rows only is noticed when it is lowered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.parts.columns import columns
from pocketlora_export.graphs.stage import Limits, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.lower.cpu import CPU
from pocketlora_export.lower.planned import fixed_dimensions

LIMITS = Limits(max_seq_len=16, train_t_max=8, prefill_t_max=8, max_rank=4, max_segments=2)


def _run(inputs: Tensors) -> tuple[Tensor, ...]:
    return (ops.swiglu(*columns(inputs["x"], [3, 3])),)


GATED = Stage("gated", (runtime_input("x", ("N", 6)),), (OutputSpec("y", torch.float32, ("N", 3)),), _run)


@pytest.mark.parametrize(
    ("captured", "problems"), [(8, []), (1, ["gated: input 'x': dimension N came out as 1"])], ids=["any", "one"]
)
def test_fixed_rows_are_noticed(captured: int, problems: list[str]) -> None:
    program = CPU.lower({GATED.name: capture(GATED, captured, LIMITS)})
    assert fixed_dimensions(program, GATED, 8) == problems
    assert fixed_dimensions(program, GATED, captured) == []


def test_columns_and_their_gradient() -> None:
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    pieces = columns(x, [1, 3, 2])
    assert torch.equal(torch.cat(pieces, dim=1), x)
    assert torch.autograd.gradcheck(lambda y: columns(y, [1, 3, 2]), x)
