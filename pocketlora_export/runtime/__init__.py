"""The C API from Python: opened bundles, adapters, sessions and trainers. Never imports torch."""

from __future__ import annotations

from pocketlora_export.runtime.engine import (
    Adapter,
    Engine,
    EngineFacts,
    Evaluation,
    MemoryAccount,
    Weights,
    available_delegates,
    executorch_version,
)
from pocketlora_export.runtime.session import Generation, Sampling, Session, SessionInfo
from pocketlora_export.runtime.trainer import Trainer
from pocketlora_export.runtime.training import (
    Activations,
    Checkpoint,
    Loss,
    Optimizer,
    Progress,
    Recompute,
    Schedule,
    Step,
    TrainerConfig,
    TrainerPlan,
    Validation,
)
from pocketlora_export.runtime.watch import AdapterChange, AdapterEvent, AdapterWatch

__all__ = [
    "Activations",
    "Adapter",
    "AdapterChange",
    "AdapterEvent",
    "AdapterWatch",
    "Checkpoint",
    "Engine",
    "EngineFacts",
    "Evaluation",
    "Generation",
    "Loss",
    "MemoryAccount",
    "Optimizer",
    "Progress",
    "Recompute",
    "Sampling",
    "Schedule",
    "Session",
    "SessionInfo",
    "Step",
    "Trainer",
    "TrainerConfig",
    "TrainerPlan",
    "Validation",
    "Weights",
    "available_delegates",
    "executorch_version",
]
