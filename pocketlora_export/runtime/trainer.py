"""Training LoRA tensors on a frozen bundle."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path
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


class Activations(IntEnum):
    """pl_activations: what the inputs of the blocks are kept as for the backward."""

    AUTO = 0
    FP32 = 1
    FP16 = 2
    BF16 = 3


@dataclass(frozen=True)
class TrainerConfig:
    """Hyper-parameters. `rank`, `alpha` and `target_modules` are ignored when training goes on from an adapter.

    `max_rows`: token rows of a pass, 0 = the bundle's or what the memory limit allows. `scratch_dir`: where inputs of
    blocks go that memory has no room for. `activation_limit`: bytes of them beyond which they go there, 0 = no limit.
    """

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
    activations: Activations = Activations.AUTO
    max_rows: int = 0
    scratch_dir: Path | None = None
    activation_limit: int = 0


@dataclass(frozen=True)
class TrainerPlan:
    """What a trainer was planned for: the largest setting within the engine's memory limit. Sizes in bytes.

    `spilled` is the size of the scratch file; `planned` the sum of the parts that follow it, at their highest.
    """

    max_rows: int
    activations: Activations
    streams_weights: bool
    spilled: int
    memory_limit: int
    planned: int
    arena: int
    block_inputs: int
    adapter: int
    gradients: int
    optimizer: int
    kv_cache: int
    scratch: int
    other: int


@dataclass(frozen=True)
class Step:
    """Report of one step: `loss` is the mean over all unmasked tokens of its micro-batches.

    `passes`: forward and backward passes that they were computed in; more than micro-batches where one had to be split.
    """

    step: int
    loss: float
    num_tokens: int
    num_labels: int
    grad_norm: float
    seconds: float
    passes: int


class Trainer(Handle):
    """LoRA tensors, their gradients and the optimizer's state."""

    def __init__(self, engine: Engine, config: TrainerConfig | None = None, init: Adapter | None = None) -> None:
        """Create a trainer; `init` = start from a copy of this adapter."""
        pointer = ctypes.c_void_p()
        options = _options(config or TrainerConfig())
        start = None if init is None else init.pointer
        check(library().pl_trainer_create(engine.pointer, options, start, pointer))
        super().__init__(pointer, library().pl_trainer_free)

    @cached_property
    def plan(self) -> TrainerPlan:
        """What was chosen for this trainer."""
        info = structs.sized(structs.TrainerInfo)
        check(library().pl_trainer_get_info(self.pointer, info))
        values = {f.name: getattr(info, f.name) for f in fields(TrainerPlan)}
        values["activations"] = Activations(info.activations)
        values["streams_weights"] = bool(info.streams_weights)
        return TrainerPlan(**values)

    def cancel(self) -> None:
        """End the step that is running on another thread, or else the next one, with CANCELLED. For any thread."""
        check(library().pl_trainer_cancel(self.pointer))

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
        return Step(r.step, r.loss, r.num_tokens, r.num_labels, r.grad_norm, r.seconds, r.passes)


def _options(config: TrainerConfig) -> structs.TrainerOptions:
    options = structs.TrainerOptions()
    library().pl_trainer_options_init_sized(options, ctypes.sizeof(options))
    modules = config.target_modules
    options.target_modules = None if modules is None else ",".join(modules).encode()
    options.optimizer = int(config.optimizer)
    for name in ("rank", "alpha", "learning_rate", "beta1", "beta2", "epsilon", "weight_decay"):
        setattr(options, name, getattr(config, name))
    options.momentum, options.dropout, options.seed = config.momentum, config.dropout, config.seed
    options.activations, options.max_rows = int(config.activations), config.max_rows
    options.scratch_dir = None if config.scratch_dir is None else os.fsencode(config.scratch_dir)
    options.activation_limit = config.activation_limit
    return options
