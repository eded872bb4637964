"""The C API from Python: opened bundles, adapters, sessions and trainers. Never imports torch."""

from __future__ import annotations

from pocketlora_export.runtime.engine import Adapter, Engine, EngineFacts, Evaluation, MemoryAccount, Weights
from pocketlora_export.runtime.session import Generation, Sampling, Session, SessionInfo
from pocketlora_export.runtime.trainer import Activations, Optimizer, Step, Trainer, TrainerConfig, TrainerPlan

__all__ = [
    "Activations",
    "Adapter",
    "Engine",
    "EngineFacts",
    "Evaluation",
    "Generation",
    "MemoryAccount",
    "Optimizer",
    "Sampling",
    "Session",
    "SessionInfo",
    "Step",
    "Trainer",
    "TrainerConfig",
    "TrainerPlan",
    "Weights",
]
