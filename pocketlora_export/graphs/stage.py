"""A stage: one method of a program, with named inputs and outputs, still as a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Source = Literal["runtime", "weight", "adapter"]
# A dimension is an int, or the name of a dynamic one: "N", "S1", "C", "R:<site>" (a rank of its own per site), or
# "K:<most>" (bytes of a cache row).
Dim = int | str
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class InputSpec:
    """One input of a stage."""

    name: str
    source: Source
    dtype: torch.dtype
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class OutputSpec:
    """One output of a stage."""

    name: str
    dtype: torch.dtype
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class Stage:
    """A stage ready for capture. `function` maps named inputs to the outputs in order."""

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    function: Callable[[Tensors], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Limits:
    """Upper bounds of the dynamic dimensions."""

    max_seq_len: int
    train_t_max: int
    prefill_t_max: int
    max_rank: int
    max_segments: int
    t_min: int = 1

    def bound(self, dim: str, rows: int) -> int:
        """The largest value of a dynamic dimension in a method of at most `rows` token rows."""
        if dim.startswith("R"):
            return max(self.max_rank, 3)
        if dim.startswith("K"):
            return int(dim.removeprefix("K:"))
        return {"N": rows, "S1": self.max_segments + 1, "C": self.max_seq_len}[dim]


def runtime_input(name: str, shape: tuple[Dim, ...], dtype: torch.dtype = torch.float32) -> InputSpec:
    """An input that the runtime computes."""
    return InputSpec(name, "runtime", dtype, shape)
