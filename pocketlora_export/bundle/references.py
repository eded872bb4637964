"""Whether a manifest holds together: every name that a stage binds exists, with the shape that the method asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pocketlora_export.bundle.manifest import BlockStages, End, Input, Manifest, Method, Program, Site, Stages

Rank = int | str
_ROLES = {"train": {"forward", "backward"}, "infer": {"prefill", "decode"}}
# Methods that a layer has all of, or none.
_FURTHER = {"train": {"forward_keep", "backward_kept"}, "infer": {"keys"}}


def _weight_problems(
    where: str, method: Method, bound: Mapping[str, str], shapes: Mapping[str, list[int]]
) -> Iterator[str]:
    for port in method.inputs:
        if port.source != "weight":
            continue
        name = bound.get(port.name)
        if name is None or name not in shapes:
            yield f"{where}: {method.name}: weight {port.name} is bound to {name}, which is not in base.ptd"
        elif shapes[name] != port.shape:
            yield f"{where}: {method.name}: weight {port.name} has shape {port.shape}, {name} has {shapes[name]}"


def _site_of(port: Input, block: BlockStages, sites: Mapping[str, Site]) -> Site | None:
    return sites.get(block.sites.get(port.name.rpartition(".")[0], ""))


def _expected_adapter_shape(port: Input, site: Site, rank: Rank) -> list[Rank]:
    suffix = port.name.rpartition(".")[2]
    shapes: dict[str, list[Rank]] = {"lora_A": [rank, site.in_features], "lora_B": [site.out_features, rank]}
    return shapes.get(suffix, [rank])


def _adapter_problems(
    where: str, method: Method, block: BlockStages, sites: Mapping[str, Site], rank: Rank
) -> Iterator[str]:
    """`rank`: the dynamic dimension, or the number that it is fixed at."""
    for port in method.inputs:
        if port.source != "adapter":
            continue
        site = _site_of(port, block, sites)
        if site is None:
            yield f"{where}: {method.name}: adapter input {port.name} has no site"
        elif port.shape != _expected_adapter_shape(port, site, rank):
            yield f"{where}: {method.name}: adapter input {port.name} has shape {port.shape}, not that of {site.name}"


def _kept_problems(where: str, block: BlockStages, methods: Mapping[str, Method]) -> Iterator[str]:
    """The products that one method keeps are those that the other one reads."""
    keep, read = (methods.get(block.methods[role]) for role in ("forward_keep", "backward_kept"))
    if keep is None or read is None:
        return
    kept, given = (
        {port.name: port.shape for port in ports if port.name.endswith(".kept")}
        for ports in (keep.outputs, read.inputs)
    )
    if kept != given or not kept:
        yield f"{where}: {keep.name} keeps {kept}, {read.name} reads {given}"


def _end_problems(
    where: str, end: End, methods: Mapping[str, Method], shapes: Mapping[str, list[int]]
) -> Iterator[str]:
    if end.method not in methods:
        yield f"{where}: method {end.method} is in no program"
        return
    yield from _weight_problems(where, methods[end.method], end.weights, shapes)


def _stage_problems(manifest: Manifest, stages: Stages, program: Program) -> Iterator[str]:
    where = f"stages {stages.backend}/{stages.kind}"
    shapes = {t.name: list(t.shape) for t in manifest.base.tensors}
    sites = {s.name: s for s in manifest.adapter.sites}
    methods = {m.name: m for m in program.methods}
    rank: Rank = "R" if program.constants is None else manifest.limits.max_rank
    for end in (stages.embed, stages.head):
        yield from _end_problems(where, end, methods, shapes)
    if [b.layer for b in stages.blocks] != list(range(manifest.model.num_layers)):
        yield f"{where}: blocks are not the layers 0 to {manifest.model.num_layers - 1}"
    roles = _ROLES[stages.kind]
    for block in stages.blocks:
        at = f"{where}, layer {block.layer}"
        further = _FURTHER[stages.kind] & set(block.methods) and _FURTHER[stages.kind]
        if set(block.methods) != roles | further:
            yield f"{at}: methods are {sorted(block.methods)}, expected {sorted(roles | further)}"
        elif further and stages.kind == "train":
            yield from _kept_problems(at, block, methods)
        for name in block.methods.values():
            if name not in methods:
                yield f"{at}: method {name} is in no program"
                continue
            yield from _weight_problems(at, methods[name], block.weights, shapes)
            yield from _adapter_problems(at, methods[name], block, sites, rank)


def reference_problems(manifest: Manifest) -> list[str]:
    """Everything that a stage binds and that is not there or has another shape."""
    programs = {(p.backend, p.kind): p for p in manifest.programs}
    problems: list[str] = []
    for stages in manifest.stages:
        program = programs.get((stages.backend, stages.kind))
        if program is None:
            problems.append(f"stages {stages.backend}/{stages.kind}: no such program")
        else:
            problems += _stage_problems(manifest, stages, program)
    listed = {f.path for f in manifest.files}
    named = [file for p in manifest.programs for file in (p.file, p.constants) if file is not None]
    problems += [f"{file} is not listed in files" for file in dict.fromkeys(named) if file not in listed]
    return problems
