"""What a backend says of itself: what it can lower, and how. One file per backend beside this one holds a `Backend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executorch.exir import EdgeProgramManager, ExecutorchBackendConfig, ExecutorchProgramManager
from executorch.exir.passes import MemoryPlanningPass
from torch.export import ExportedProgram

from pocketlora_export.graphs.capture import Decompositions, capture
from pocketlora_export.graphs.decoder import Decoder, LoraSite
from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.lower.spec import ProgramSpec

Methods = Mapping[str, ExportedProgram]
LowerDecoder = Callable[[Decoder, list[LoraSite], Limits, Path, Callable[[str], None]], list[ProgramSpec]]


@dataclass(frozen=True)
class Backend:
    """A backend.

    Attributes:
        name: of the folder programs/<name>/ and in the manifest.
        to_edge: captured stages to the edge dialect, with what the backend takes delegated to it.
        decompositions: our ops that do not stay custom, by name, and what is traced in their place (`decompose`).
        refused: whether the backend cannot do a 4-bit scheme, and why: a reason, or None.
        trace_stage: how a stage is captured from shapes alone; None: `capture`, with `decompositions`.
        lower_decoder: lowers a decoder where programs hold weights, so that each layer is lowered by itself: (decoder,
            sites, limits, the bundle's folder with its base, progress) -> programs; None: weights are inputs.
        notes: what users of its programs should know.
    """

    name: str
    to_edge: Callable[[Methods], EdgeProgramManager]
    decompositions: Decompositions = field(default_factory=dict)
    refused: Callable[[QuantScheme], str | None] = lambda scheme: None
    trace_stage: Callable[[Stage, int, Limits], ExportedProgram] | None = None
    lower_decoder: LowerDecoder | None = None
    notes: tuple[str, ...] = ()

    def captured(self, stage: Stage, rows: int, limits: Limits) -> ExportedProgram:
        """Capture a stage for this backend from shapes alone; arguments as for `capture`."""
        if self.trace_stage is not None:
            return self.trace_stage(stage, rows, limits)
        return capture(stage, rows, limits, self.decompositions)

    def lower(self, methods: Methods) -> ExecutorchProgramManager:
        """Lower captured stages to one program."""
        return to_program(self.to_edge(methods))

    def problems(self, quantization: Quantization) -> list[str]:
        """Everything of a job that this backend cannot do, with the reasons."""
        roles = {"linear": quantization.linear, "embedding": quantization.embedding, "head": quantization.head}
        found = {role: self.refused(scheme) for role, scheme in roles.items()}
        return [
            f"backend {self.name}: {role}: {roles[role].scheme} in groups of {roles[role].group_size}: {reason}"
            for role, reason in found.items()
            if reason is not None
        ]


def to_program(edge: EdgeProgramManager) -> ExecutorchProgramManager:
    """Stages in the edge dialect to one program.

    Inputs and outputs are left unplanned, so that the caller's pointers are used in place and nothing is copied.
    """
    return edge.to_executorch(
        ExecutorchBackendConfig(
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=False),
            extract_delegate_segments=True,
        )
    )
