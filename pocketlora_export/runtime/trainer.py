"""Training LoRA tensors on a frozen bundle."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from pocketlora_export.runtime import structs
from pocketlora_export.runtime.arrays import Batches, Float32Array, PackedRows, float_pointer
from pocketlora_export.runtime.engine import Adapter, Engine
from pocketlora_export.runtime.handle import Handle
from pocketlora_export.runtime.library import check, library


class Optimizer(IntEnum):
    """pl_optimizer."""

    ADAMW = 0
    SGD = 1


@dataclass(frozen=True)
class TrainerConfig:
    """Hyper-parameters. `rank`, `alpha` and `target_modules` are ignored when training goes on from an adapter."""

    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] | None = None
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    dropout: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Step:
    """Report of one step: `loss` is the mean over all unmasked tokens of its micro-batches."""

    step: int
    loss: float
    num_tokens: int
    num_labels: int
    grad_norm: float
    seconds: float


class Trainer(Handle):
    """LoRA tensors, their gradients and the optimizer's state."""

    def __init__(self, engine: Engine, config: TrainerConfig | None = None, init: Adapter | None = None) -> None:
        """Create a trainer; `init` = start from a copy of this adapter."""
        pointer = ctypes.c_void_p()
        options = _options(config or TrainerConfig())
        start = None if init is None else init.pointer
        check(library().pl_trainer_create(engine.pointer, options, start, pointer))
        super().__init__(pointer, library().pl_trainer_free)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use another learning rate from the next step on."""
        check(library().pl_trainer_set_learning_rate(self.pointer, learning_rate))

    def step(self, batches: Sequence[PackedRows]) -> Step:
        """Forward and backward of every micro-batch, then one optimizer step."""
        return self._run(library().pl_trainer_step, batches)

    def forward_backward(self, batches: Sequence[PackedRows]) -> Step:
        """As `step` without the optimizer step; the gradients can then be read."""
        return self._run(library().pl_trainer_forward_backward, batches)

    def gradient(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """The gradient of the LoRA tensor with this PEFT key, float32 of `shape`."""
        values = np.empty(shape, dtype=np.float32)
        check(library().pl_trainer_get_gradient(self.pointer, name.encode(), float_pointer(values), values.size))
        return values

    def adapter(self) -> Adapter:
        """A snapshot of the trained adapter, independent of the trainer."""
        pointer = ctypes.c_void_p()
        check(library().pl_trainer_get_adapter(self.pointer, pointer))
        return Adapter(pointer)

    def _run(self, function: Any, batches: Sequence[PackedRows]) -> Step:
        packed, report = Batches(batches), structs.sized(structs.StepReport)
        check(function(self.pointer, packed.array, len(packed), report))
        r = report
        return Step(r.step, r.loss, r.num_tokens, r.num_labels, r.grad_norm, r.seconds)


def _options(config: TrainerConfig) -> structs.TrainerOptions:
    options = structs.TrainerOptions()
    library().pl_trainer_options_init_sized(options, ctypes.sizeof(options))
    modules = config.target_modules
    options.target_modules = None if modules is None else ",".join(modules).encode()
    options.optimizer = int(config.optimizer)
    for name in ("rank", "alpha", "learning_rate", "beta1", "beta2", "epsilon", "weight_decay"):
        setattr(options, name, getattr(config, name))
    options.momentum, options.dropout, options.seed = config.momentum, config.dropout, config.seed
    return options
