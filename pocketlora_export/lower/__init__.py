"""Lowering to ExecuTorch: one file per backend, and the description of what was lowered."""

from __future__ import annotations

from pocketlora_export.lower.model import lower_model
from pocketlora_export.lower.spec import BlockBinding, EndBinding, MethodSpec, PortSpec, ProgramSpec, StageBinding

__all__ = ["BlockBinding", "EndBinding", "MethodSpec", "PortSpec", "ProgramSpec", "StageBinding", "lower_model"]
