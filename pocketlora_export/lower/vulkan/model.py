"""A decoder to Vulkan programs: weights are constants, so each layer has methods of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from executorch.exir import EdgeProgramManager, ExecutorchProgramManager
from torch import Tensor
from torch.export import ExportedProgram

from pocketlora_export.bundle.flat_header import read_flat_header
from pocketlora_export.bundle.manifest import BASE
from pocketlora_export.graphs.decoder import Block, Decoder, LoraSite
from pocketlora_export.graphs.gradient import backward_stage
from pocketlora_export.graphs.stage import Limits, OutputSpec, Stage
from pocketlora_export.graphs.trace import StageTrace
from pocketlora_export.lower.backend import to_program
from pocketlora_export.lower.coverage import StageCoverage, stage_coverage
from pocketlora_export.lower.model import DTYPES, Progress, arena_bytes, delegates, write
from pocketlora_export.lower.spec import (
    BlockBinding,
    EndBinding,
    Kind,
    MethodSpec,
    PortSpec,
    ProgramSpec,
    StageBinding,
)
from pocketlora_export.lower.vulkan.capture import capture_fixed, fixed_inputs, fixed_shape
from pocketlora_export.lower.vulkan.constants import merge_constants, write_constants
from pocketlora_export.lower.vulkan.limits import DeviceLimits
from pocketlora_export.lower.vulkan.lowering import to_vulkan
from pocketlora_export.lower.vulkan.weights import StoredWeights

CONSTANTS = "programs/vulkan/constants.ptd"
_ROLES: dict[Kind, tuple[str, str]] = {"train": ("forward", "backward"), "infer": ("prefill", "decode")}


@dataclass(frozen=True)
class _Method:
    """A stage of one layer (or of an end) with its number of rows, and where its weights lie in the base."""

    stage: Stage
    rows: int
    weights: dict[str, str]


@dataclass(frozen=True)
class _Lowered:
    """A program before it is written."""

    kind: Kind
    methods: tuple[_Method, ...]
    edge: EdgeProgramManager
    coverage: tuple[StageCoverage, ...]


def _reader(path: Path) -> Callable[[str], Tensor]:
    """Tensors of a base by name, read when asked for."""
    entries = {entry.name: entry for entry in read_flat_header(path)}
    dtypes = {"uint8": np.uint8, "float32": np.float32}

    def read(name: str) -> Tensor:
        entry = entries[name]
        data = np.fromfile(path, dtypes[entry.dtype], int(np.prod(entry.shape)), offset=entry.offset)
        return torch.from_numpy(data.reshape(entry.shape))

    return read


def method_name(role: str, layer: int) -> str:
    """The method of one layer: "block_forward_07"."""
    return f"block_{role}_{layer:02d}"


def _block_stages(block: Block, kind: Kind) -> tuple[Stage, Stage]:
    if kind == "infer":
        return block.prefill, block.decode
    return block.forward, backward_stage(block.forward, "block_backward", "hidden")


def _end(stage: Stage, rows: int, decoder: Decoder) -> _Method:
    return _Method(stage, rows, {name: decoder.weight_names[name] for name in _weight_inputs(stage)})


def _weight_inputs(stage: Stage) -> list[str]:
    return [spec.name for spec in stage.inputs if spec.source == "weight"]


def _methods(decoder: Decoder, kind: Kind, limits: Limits) -> Iterator[_Method]:
    """Every method of a program."""
    rows = limits.train_t_max if kind == "train" else limits.prefill_t_max
    head = decoder.head_loss if kind == "train" else decoder.head
    stages = {name: _block_stages(block, kind) for name, block in decoder.blocks.items()}
    yield _end(decoder.embed, rows, decoder)
    for layer, name in enumerate(decoder.layer_kinds):
        prefix = decoder.layer_prefix(layer)
        for role, stage in zip(_ROLES[kind], stages[name], strict=True):
            names = {weight: prefix + weight for weight in _weight_inputs(stage)}
            yield _Method(replace(stage, name=method_name(role, layer)), 1 if role == "decode" else rows, names)
    yield _end(head, rows if kind == "train" else 1, decoder)


def _lower(
    decoder: Decoder,
    kind: Kind,
    limits: Limits,
    read: Callable[[str], Tensor],
    device: DeviceLimits,
    fp16: bool,
    progress: Progress,
) -> _Lowered:
    methods = tuple(_methods(decoder, kind, limits))
    captured: dict[str, ExportedProgram] = {}
    for method in methods:
        progress(f"vulkan {kind}: {method.stage.name}")
        source = StoredWeights(read, method.weights)
        captured[method.stage.name] = capture_fixed(method.stage, method.rows, limits, source, device)
    progress(f"vulkan {kind}: to ExecuTorch")
    edge = to_vulkan(captured, device, fp16 and kind == "infer")
    return _Lowered(kind, methods, edge, tuple(stage_coverage(edge, m.stage, m.rows, {}) for m in methods))


def _ports(method: _Method, limits: Limits) -> tuple[tuple[PortSpec, ...], tuple[PortSpec, ...]]:
    rows = method.rows

    def output(spec: OutputSpec) -> PortSpec:
        return PortSpec(spec.name, DTYPES[spec.dtype], fixed_shape(spec.shape, rows, limits))

    inputs = (PortSpec(s.name, DTYPES[s.dtype], s.shape, s.source) for s in fixed_inputs(method.stage, rows, limits))
    return tuple(inputs), tuple(output(spec) for spec in method.stage.outputs)


def _spec(method: _Method, limits: Limits, arena: int) -> MethodSpec:
    name, rows = method.stage.name, method.rows
    return MethodSpec(name, rows, rows, arena, *_ports(method, limits), (), StageTrace(name, rows, (), ()))


def _bindings(decoder: Decoder, kind: Kind, sites: list[LoraSite]) -> StageBinding:
    """Which method a layer calls; adapters are bound, weights are not."""
    blocks = []
    for layer, name in enumerate(decoder.layer_kinds):
        prefix = decoder.layer_prefix(layer)
        own = {site.name.removeprefix(prefix): site.name for site in sites if site.layer == layer}
        methods = {role: method_name(role, layer) for role in _ROLES[kind]}
        blocks.append(BlockBinding(layer, methods, {}, own, decoder.blocks[name].window))
    head = decoder.head_loss if kind == "train" else decoder.head
    return StageBinding(EndBinding(decoder.embed.name, {}), tuple(blocks), EndBinding(head.name, {}))


def _program_spec(
    lowered: _Lowered, program: ExecutorchProgramManager, decoder: Decoder, sites: list[LoraSite], limits: Limits
) -> ProgramSpec:
    arenas = arena_bytes(program)
    return ProgramSpec(
        "vulkan",
        lowered.kind,
        f"programs/vulkan/{lowered.kind}.pte",
        delegates(program),
        tuple(_spec(method, limits, arenas[method.stage.name]) for method in lowered.methods),
        _bindings(decoder, lowered.kind, sites),
        lowered.coverage,
        CONSTANTS,
    )


def lower_layers(
    decoder: Decoder,
    sites: list[LoraSite],
    limits: Limits,
    out_dir: Path,
    progress: Progress,
    *,
    fp16: bool,
    device: DeviceLimits,
) -> list[ProgramSpec]:
    """Lower a decoder to `programs/vulkan/{train,infer}.pte` with one file of constants, from `out_dir`'s base.

    Time and memory grow with the number of layers, since every layer's weights are in its own delegates.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED for what cannot be lowered.
    """
    read = _reader(out_dir / BASE)
    kinds: tuple[Kind, Kind] = ("train", "infer")
    lowered = [_lower(decoder, kind, limits, read, device, fp16, progress) for kind in kinds]
    write_constants(merge_constants(one.edge for one in lowered), out_dir / CONSTANTS)
    specs = []
    for one in lowered:
        program = to_program(one.edge)
        specs.append(_program_spec(one, program, decoder, sites, limits))
        write(program, out_dir / specs[-1].file)
    return specs
