"""From the families' and the lowering's own descriptions to the manifest's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketlora_export.bundle import manifest as m
from pocketlora_export.bundle.flat_header import table_digest
from pocketlora_export.families.base import ModelFacts
from pocketlora_export.graphs.decoder import LoraSite
from pocketlora_export.graphs.stage import Limits
from pocketlora_export.graphs.weights import Quantization, QuantScheme, WeightSpec
from pocketlora_export.lower.spec import BlockBinding, EndBinding, MethodSpec, PortSpec, ProgramSpec
from pocketlora_export.plan.memory import Bounds, Shape, by_rows, estimate, shape_of
from pocketlora_export.quantize.stored import StoredTensor
from pocketlora_export.recipes.recipe import Recipe


def quantization_of(recipe: Recipe, tied: bool) -> Quantization:
    """The families' view of a recipe's `quant`."""
    linear = QuantScheme(recipe.quant.scheme, recipe.quant.group)
    ends = [
        linear if q is None else QuantScheme(q.scheme, q.group) for q in (recipe.quant.embedding, recipe.quant.head)
    ]
    return Quantization(linear, ends[0], ends[0] if tied else ends[1])


def limits_of(recipe: Recipe) -> Limits:
    """The lowering's view of a recipe's bounds."""
    return Limits(
        max_seq_len=recipe.max_seq_len,
        train_t_max=recipe.train_seq_len,
        prefill_t_max=recipe.prefill_t_max,
        max_rank=recipe.max_rank,
        max_segments=recipe.max_segments,
    )


def stored_tensors(weights: Sequence[WeightSpec], quantization: Quantization) -> list[StoredTensor]:
    """What base.ptd will hold, in the family's order."""
    return [StoredTensor(w.name, w.shape, quantization.spec(w) if w.quantized else None) for w in weights]


def model_entry(facts: ModelFacts, source_dtype: str, weights: Sequence[StoredTensor]) -> m.Model:
    """`model`."""
    values = dataclasses.asdict(facts) | {"eos_token_ids": list(facts.eos_token_ids)}
    return m.Model(source_dtype=source_dtype, num_parameters=sum(w.elements for w in weights), **values)


def quantization_entry(quantization: Quantization) -> m.Quantization:
    """`quantization`."""

    def role(scheme: QuantScheme) -> m.RoleQuantization:
        return m.RoleQuantization(scheme=scheme.scheme, group_size=scheme.group_size)

    linear = quantization.linear
    return m.Quantization(
        scheme=linear.scheme,
        group_size=linear.group_size,
        embedding=role(quantization.embedding),
        head=role(quantization.head),
    )


def limits_entry(limits: Limits) -> m.Limits:
    """`limits`."""
    return m.Limits(
        max_seq_len=limits.max_seq_len,
        train_t_min=limits.t_min,
        train_t_max=limits.train_t_max,
        prefill_t_min=limits.t_min,
        prefill_t_max=limits.prefill_t_max,
        max_rank=limits.max_rank,
        max_segments=limits.max_segments,
    )


def adapter_entry(sites: Sequence[LoraSite], targets: Sequence[str], max_rank: int) -> m.Adapter:
    """`adapter`."""
    entries = [m.Site(**dataclasses.asdict(site)) for site in sites]
    return m.Adapter(target_modules=list(targets), max_rank=max_rank, sites=entries)


def base_entry(tensors: Sequence[StoredTensor], path: Path) -> m.Base:
    """`base`, of the file at `path`."""
    table_bytes, table_sha256 = table_digest(path)
    entries = [_tensor(t) for t in tensors]
    return m.Base(table_bytes=table_bytes, table_sha256=table_sha256, tensors=entries)


def _tensor(tensor: StoredTensor) -> m.Q4Tensor | m.DenseTensor:
    if tensor.q4 is None:
        return m.DenseTensor(name=tensor.name, shape=list(tensor.shape), nbytes=tensor.nbytes)
    q4 = tensor.q4
    return m.Q4Tensor(
        name=tensor.name,
        shape=list(tensor.shape),
        nbytes=tensor.nbytes,
        rows=q4.rows,
        cols=q4.cols,
        scheme=q4.scheme,
        group_size=q4.group_size,
    )


def _port(port: PortSpec) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape), "source": port.source}


def _method(method: MethodSpec) -> m.Method:
    return m.Method(
        name=method.name,
        t_min=method.t_min,
        t_max=method.t_max,
        arena_bytes=method.arena_bytes,
        inputs=[m.Input.model_validate(_port(p)) for p in method.inputs],
        outputs=[m.Output.model_validate(_port(p)) for p in method.outputs],
    )


def program_entries(programs: Sequence[ProgramSpec], shape: Shape, bounds: Bounds) -> list[m.Program]:
    """`programs`; `shape` and `bounds` from `memory_setting`."""
    return [
        m.Program(
            backend=p.backend,
            kind=p.kind,
            file=p.file,
            delegates=list(p.delegates),
            constants=p.constants,
            methods=[_method(method) for method in p.methods],
            memory_rows=[m.MemoryRow(**row) for row in by_rows(shape, bounds, p.kind, p.methods)],
        )
        for p in programs
    ]


def _end(end: EndBinding) -> m.End:
    return m.End(method=end.method, weights=end.weights)


def _block(block: BlockBinding) -> m.BlockStages:
    return m.BlockStages(
        layer=block.layer, methods=block.methods, weights=block.weights, sites=block.sites, window=block.window
    )


def stage_entries(programs: Sequence[ProgramSpec]) -> list[m.Stages]:
    """`stages`."""
    return [
        m.Stages(
            backend=p.backend,
            kind=p.kind,
            embed=_end(p.stages.embed),
            blocks=[_block(b) for b in p.stages.blocks],
            head=_end(p.stages.head),
        )
        for p in programs
    ]


def memory_setting(
    facts: ModelFacts, sites: Sequence[LoraSite], limits: Limits, programs: Sequence[ProgramSpec]
) -> tuple[Shape, Bounds]:
    """What the memory of a bundle depends on beside its programs."""
    windows = [block.window for block in programs[0].stages.blocks]
    bounds = Bounds(
        train_rows=limits.train_t_max,
        prefill_rows=limits.prefill_t_max,
        context=limits.max_seq_len,
        rank=limits.max_rank,
        segments=limits.max_segments,
    )
    return shape_of(facts, [(site.in_features, site.out_features) for site in sites], windows), bounds


def memory_entry(
    programs: Sequence[ProgramSpec], entries: Sequence[m.Program], shape: Shape, bounds: Bounds
) -> m.Memory:
    """`memory`, of the backend that is listed first."""
    first = programs[0].backend
    methods: dict[str, Sequence[MethodSpec]] = {
        program.kind: program.methods for program in programs if program.backend == first
    }
    tables: dict[str, Sequence[dict[str, int]]] = {
        entry.kind: [row.model_dump() for row in entry.memory_rows] for entry in entries if entry.backend == first
    }
    return m.Memory(**estimate(shape, bounds, methods, tables))
