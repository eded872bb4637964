"""The `cpu` backend: custom ops stay custom, the rest runs on ExecuTorch's own kernels; no delegate."""

from __future__ import annotations

from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge

from pocketlora_export.lower.backend import Backend, Methods


def _to_edge(methods: Methods) -> EdgeProgramManager:
    return to_edge(dict(methods), compile_config=EdgeCompileConfig())


CPU = Backend("cpu", _to_edge)
