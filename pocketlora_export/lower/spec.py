"""Descriptions of lowered programs, as the manifest's `programs` and `stages` hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pocketlora_export.graphs.trace import Size, StageTrace
from pocketlora_export.lower.coverage import StageCoverage

Kind = Literal["train", "infer"]


@dataclass(frozen=True)
class PortSpec:
    """An input or output of a method. Dynamic dimensions: "N", "S1", "C", "K", "R". `source` is None for an output."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    source: str | None = None


@dataclass(frozen=True)
class PlannedTensor:
    """A value inside a lowered stage: its fixed place in planned memory `memory`, and its size at some extents."""

    memory: int
    offset: int
    nbytes: Size


@dataclass(frozen=True)
class MethodSpec:
    """A lowered stage. `arena_bytes` is what its planned memory needs at `t_max`; `planned` says what lies where."""

    name: str
    t_min: int
    t_max: int
    arena_bytes: int
    inputs: tuple[PortSpec, ...]
    outputs: tuple[PortSpec, ...]
    planned: tuple[PlannedTensor, ...]
    trace: StageTrace


@dataclass(frozen=True)
class EndBinding:
    """The method of an end (embed, head) and the base tensors bound to its weight inputs."""

    method: str
    weights: dict[str, str]


@dataclass(frozen=True)
class BlockBinding:
    """What to call for one layer, and what to bind: input name -> base tensor, site prefix -> site name.

    `window`: keys that a token sees at most, itself included; None = all before it.
    """

    layer: int
    methods: dict[str, str]
    weights: dict[str, str]
    sites: dict[str, str]
    window: int | None = None


@dataclass(frozen=True)
class StageBinding:
    """How the runtime walks a program."""

    embed: EndBinding
    blocks: tuple[BlockBinding, ...]
    head: EndBinding


@dataclass(frozen=True)
class ProgramSpec:
    """One .pte file, relative to the bundle.

    `delegates`: those without which it does not run, by ExecuTorch's names. `coverage`: what of each stage runs where.
    `constants`: the file of its delegates' constants, where weights are not inputs; such a program has fixed sizes.
    """

    backend: str
    kind: Kind
    file: str
    delegates: tuple[str, ...]
    methods: tuple[MethodSpec, ...]
    stages: StageBinding
    coverage: tuple[StageCoverage, ...]
    constants: str | None = None
