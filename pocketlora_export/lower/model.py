"""From the stages of a decoder to train.pte and infer.pte, with the bindings that the runtime walks."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from executorch.exir import ExecutorchProgramManager

from pocketlora_export.errors import Status, raise_all
from pocketlora_export.graphs.decoder import Decoder, LoraSite
from pocketlora_export.graphs.stage import Dim, InputSpec, Limits, OutputSpec, Stage
from pocketlora_export.graphs.trace import StageTrace, trace
from pocketlora_export.lower.backend import Backend, to_program
from pocketlora_export.lower.coverage import largest_sizes, stage_coverage
from pocketlora_export.lower.planned import fixed_dimensions, planned_tensors
from pocketlora_export.lower.registry import backend_named
from pocketlora_export.lower.spec import BlockBinding, EndBinding, MethodSpec, PortSpec, ProgramSpec, StageBinding
from pocketlora_export.lower.stages import INFER_ROLES, TRAIN_ROLES, ProgramStages, infer_stages, train_stages

Progress = Callable[[str], None]
DTYPES = {torch.float32: "float32", torch.int64: "int64", torch.uint8: "uint8"}


def _dim(dim: Dim, rows: int) -> int | str:
    if dim == "N" and rows == 1:
        return 1
    return dim.split(":")[0] if isinstance(dim, str) else dim


def _port(spec: InputSpec | OutputSpec, rows: int) -> PortSpec:
    shape = tuple(_dim(dim, rows) for dim in spec.shape)
    return PortSpec(spec.name, DTYPES[spec.dtype], shape, spec.source if isinstance(spec, InputSpec) else None)


def arena_bytes(program: ExecutorchProgramManager) -> dict[str, int]:
    """Planned bytes of each method, from the emitted plans (the first entry of a plan is reserved)."""
    plans = program.executorch_program.execution_plan
    return {plan.name: sum(plan.non_const_buffer_sizes[1:]) for plan in plans}


def delegates(program: ExecutorchProgramManager) -> tuple[str, ...]:
    """Names of the delegates that a program calls."""
    return tuple(sorted({d.id for plan in program.executorch_program.execution_plan for d in plan.delegates}))


def _method(
    stage: Stage, limits: Limits, program: ExecutorchProgramManager, arena_bytes: int, traced: StageTrace
) -> MethodSpec:
    rows = traced.rows
    return MethodSpec(
        name=stage.name,
        t_min=min(limits.t_min, rows),
        t_max=rows,
        arena_bytes=arena_bytes,
        inputs=tuple(_port(spec, rows) for spec in stage.inputs),
        outputs=tuple(_port(spec, rows) for spec in stage.outputs),
        planned=planned_tensors(program, stage),
        trace=traced,
    )


def _end(stage: Stage, decoder: Decoder) -> EndBinding:
    names = [spec.name for spec in stage.inputs if spec.source == "weight"]
    return EndBinding(stage.name, {name: decoder.weight_names[name] for name in names})


def _block(decoder: Decoder, plan: ProgramStages, layer: int, sites: list[LoraSite]) -> BlockBinding:
    kind, prefix = decoder.layer_kinds[layer], decoder.layer_prefix(layer)
    names = [spec.name for spec in decoder.blocks[kind].forward.inputs if spec.source == "weight"]
    own = [site.name for site in sites if site.layer == layer]
    return BlockBinding(
        layer,
        plan.block_methods(kind),
        {name: prefix + name for name in names},
        {name.removeprefix(prefix): name for name in own},
        decoder.blocks[kind].window,
    )


def _bindings(decoder: Decoder, plan: ProgramStages, sites: list[LoraSite]) -> StageBinding:
    layers = range(len(decoder.layer_kinds))
    blocks = tuple(_block(decoder, plan, layer, sites) for layer in layers)
    return StageBinding(_end(decoder.embed, decoder), blocks, _end(plan.head, decoder))


def write(program: ExecutorchProgramManager, path: Path) -> None:
    """Write a .pte file, flushed to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        program.write_to_file(file)
        file.flush()
        os.fsync(file.fileno())


def _lower_plan(
    plan: ProgramStages,
    decoder: Decoder,
    sites: list[LoraSite],
    limits: Limits,
    backend: Backend,
    out_dir: Path,
    progress: Progress,
) -> ProgramSpec:
    captured, traces = {}, {}
    for stage, rows in plan.stages:
        progress(f"{backend.name} {plan.kind}: {stage.name}")
        captured[stage.name] = backend.captured(stage, rows, limits)
        # Before the lowering, which changes the captured graphs.
        traces[stage.name] = trace(captured[stage.name], stage, rows)
    progress(f"{backend.name} {plan.kind}: to ExecuTorch")
    sizes = {stage.name: largest_sizes(captured[stage.name], stage, rows, limits) for stage, rows in plan.stages}
    edge = backend.to_edge(captured)
    covered = tuple(stage_coverage(edge, stage, rows, sizes[stage.name]) for stage, rows in plan.stages)
    program = to_program(edge)
    fixed = [problem for stage, rows in plan.stages for problem in fixed_dimensions(program, stage, rows)]
    raise_all(
        Status.INTERNAL, f"the {plan.kind} program for {backend.name} was not lowered for every number of rows:", fixed
    )
    file = f"programs/{backend.name}/{plan.kind}.pte"
    write(program, out_dir / file)
    arenas = arena_bytes(program)
    methods = tuple(_method(stage, limits, program, arenas[stage.name], traces[stage.name]) for stage, _ in plan.stages)
    bindings = _bindings(decoder, plan, sites)
    return ProgramSpec(backend.name, plan.kind, file, delegates(program), methods, bindings, covered)


def progress_steps(decoder: Decoder, backend: Backend) -> int:
    """How many times `lower_model` calls its progress function."""
    # Of each program: embed, head and the writing; of each kind of layer, or of each layer, its methods; and the last
    # layer's keys and values.
    ends = 2 * 3
    if backend.lower_decoder is not None:
        return ends + len(decoder.layer_kinds) * 2 * 2
    return ends + len(decoder.blocks) * (len(TRAIN_ROLES) + len(INFER_ROLES)) + 1


@contextmanager
def loaded_objects_frozen() -> Iterator[None]:
    """Let the garbage collector pass over what exists by now, unless the caller has done so already.

    Tracing sets it off hundreds of times, and each time it would walk the hundreds of thousands of objects of PyTorch's
    modules: a tenth of the time.
    """
    if gc.get_freeze_count() > 0:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@loaded_objects_frozen()
def lower_model(
    decoder: Decoder,
    sites: list[LoraSite],
    limits: Limits,
    backend: Backend | str,
    out_dir: Path,
    progress: Progress = lambda _: None,
) -> list[ProgramSpec]:
    """Lower a decoder to `programs/<backend>/{train,infer}.pte` below `out_dir`.

    Time does not depend on the number of layers where weights are inputs: a kind of layer is lowered once.

    Args:
        decoder: the stages, from a family.
        sites: every LoRA site of the bundle.
        limits: bounds of the dynamic dimensions.
        backend: one, or its name (`backend_named`).
        out_dir: the bundle's folder, with its base.
        progress: called with a short description before each step, `progress_steps` times.

    Returns:
        The train and the infer program.
    """
    described = backend_named(backend) if isinstance(backend, str) else backend
    if described.lower_decoder is not None:
        return described.lower_decoder(decoder, sites, limits, out_dir, progress)
    plans = (train_stages(decoder, limits), infer_stages(decoder, limits))
    return [_lower_plan(plan, decoder, sites, limits, described, out_dir, progress) for plan in plans]
