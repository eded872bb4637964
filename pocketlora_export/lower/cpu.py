"""The `cpu` backend: custom ops stay custom, the rest runs on ExecuTorch's own kernels; no delegate."""

from __future__ import annotations

from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, ExecutorchProgramManager, to_edge
from executorch.exir.passes import MemoryPlanningPass
from torch.export import ExportedProgram


def lower(methods: dict[str, ExportedProgram]) -> ExecutorchProgramManager:
    """Lower captured stages to one program.

    Inputs and outputs are left unplanned, so that the caller's pointers are used in place and nothing is copied.
    """
    edge = to_edge(methods, compile_config=EdgeCompileConfig())
    return edge.to_executorch(
        ExecutorchBackendConfig(
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=False),
            extract_delegate_segments=True,
        )
    )
