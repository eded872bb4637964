"""What training is asked for and what it reports: the options, and a step, a validation, a checkpoint as values."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pocketlora_export.runtime import structs
from pocketlora_export.runtime.library import library
from pocketlora_export.runtime.session import COMPUTES, Compute


class Optimizer(IntEnum):
    """pl_optimizer."""

    ADAMW = 0
    SGD = 1
    ADAMW_8BIT = 2
    ADAFACTOR = 3
    LION = 4


class Schedule(IntEnum):
    """pl_schedule."""

    CONSTANT = 0
    LINEAR = 1
    COSINE = 2


class Loss(IntEnum):
    """pl_loss."""

    CROSS_ENTROPY = 0
    DPO = 1


class Activations(IntEnum):
    """pl_activations: what the inputs of the blocks are kept as for the backward."""

    AUTO = 0
    FP32 = 1
    FP16 = 2
    BF16 = 3


class Recompute(IntEnum):
    """pl_recompute: what the backward computes again of a block."""

    AUTO = 0
    FULL = 1
    SELECTIVE = 2


@dataclass(frozen=True)
class TrainerConfig:
    """Hyper-parameters. `rank`, `alpha` and `target_modules` are ignored when training goes on from an adapter.

    `max_rows`: token rows of a pass, 0 = the bundle's or what the memory limit allows. `scratch_dir`: where inputs of
    blocks go that memory has no room for. `activation_limit`: bytes of them beyond which they go there, 0 = no limit.
    `total_steps`: where a linear or cosine schedule ends. `max_grad_norm`: 0 = gradients are not clipped.
    `max_skipped_steps`: in a row, because something was not finite. `patience`: validations without improvement, 0 =
    no limit. `beta`, `label_smoothing`: of Loss.DPO, whose batches have pairs of segments, chosen and rejected.
    `compute`: of the products of the blocks, forward and backward.
    `recompute`: whether blocks keep the first products of the MLP for the backward.
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
    schedule: Schedule = Schedule.CONSTANT
    warmup_steps: int = 0
    total_steps: int = 0
    max_grad_norm: float = 0.0
    max_skipped_steps: int = 0
    keep_best: bool = False
    patience: int = 0
    min_delta: float = 0.0
    loss: Loss = Loss.CROSS_ENTROPY
    beta: float = 0.1
    label_smoothing: float = 0.0
    compute: Compute = "fp32"
    recompute: Recompute = Recompute.AUTO


@dataclass(frozen=True)
class TrainerPlan:
    """What a trainer was planned for: the largest setting within the engine's memory limit. Sizes in bytes.

    `spilled` is the size of the scratch file; `planned` the sum of the parts that follow it, at their highest.
    `kept_blocks` keep the first products of their MLP; `block_inputs` has them. `step_compute` is what this machine
    makes of `compute` in passes of more than 16 rows; not of what a delegate computes.
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
    kept_blocks: int
    compute: Compute
    step_compute: Compute


@dataclass(frozen=True)
class Step:
    """Report of one step: `loss` is the mean over all unmasked tokens of its micro-batches, or over their pairs.

    `passes`: forward and backward passes that they were computed in; more than micro-batches where one had to be split.
    `skipped`: the loss or the gradient was not finite, so nothing was changed. `num_pairs` and the rewards, means over
    pairs, are 0 unless the loss is Loss.DPO.
    """

    step: int
    loss: float
    num_tokens: int
    num_labels: int
    grad_norm: float
    seconds: float
    passes: int
    learning_rate: float
    skipped: bool
    skipped_steps: int
    num_pairs: int = 0
    chosen_reward: float = 0.0
    rejected_reward: float = 0.0
    reward_margin: float = 0.0
    reward_accuracy: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far training is; `blocks` of the running step, 0 between steps; `seconds_left` is -1 when not known.

    Loss, norm, rate and rewards are those of the last step.
    """

    step: int
    total_steps: int
    blocks_done: int
    blocks: int
    paused: bool
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    skipped_steps: int
    tokens_per_second: float
    seconds_left: float
    chosen_reward: float
    rejected_reward: float
    reward_margin: float
    reward_accuracy: float


@dataclass(frozen=True)
class Validation:
    """Held-out batches: `loss` is the mean over their unmasked tokens; `improved` = the lowest so far.

    With Loss.DPO it is the mean over their pairs, as the rewards are, and `perplexity` is NaN.
    """

    step: int
    loss: float
    perplexity: float
    num_labels: int
    improved: bool
    should_stop: bool
    best_step: int
    best_loss: float
    seconds: float
    num_pairs: int
    chosen_reward: float
    rejected_reward: float
    reward_margin: float
    reward_accuracy: float


@dataclass(frozen=True)
class Checkpoint:
    """One that was written or loaded; `skipped`: newer ones that are damaged, each with what is wrong."""

    step: int
    path: Path
    user_state: str
    skipped: tuple[str, ...]
    nbytes: int
    seconds: float
    should_stop: bool
    best_step: int


def trainer_options(config: TrainerConfig) -> structs.TrainerOptions:
    """The C options of a configuration."""
    options = structs.TrainerOptions()
    library().pl_trainer_options_init_sized(options, ctypes.sizeof(options))
    modules = config.target_modules
    options.target_modules = None if modules is None else ",".join(modules).encode()
    options.optimizer = int(config.optimizer)
    for name in ("rank", "alpha", "learning_rate", "beta1", "beta2", "epsilon", "weight_decay"):
        setattr(options, name, getattr(config, name))
    options.momentum, options.dropout, options.seed = config.momentum, config.dropout, config.seed
    options.compute = COMPUTES.index(config.compute)
    options.activations, options.max_rows = int(config.activations), config.max_rows
    options.scratch_dir = None if config.scratch_dir is None else os.fsencode(config.scratch_dir)
    options.activation_limit = config.activation_limit
    options.recompute = int(config.recompute)
    options.schedule, options.keep_best, options.loss = int(config.schedule), int(config.keep_best), int(config.loss)
    for name in (
        "warmup_steps",
        "total_steps",
        "max_grad_norm",
        "max_skipped_steps",
        "patience",
        "min_delta",
        "beta",
        "label_smoothing",
    ):
        setattr(options, name, getattr(config, name))
    return options
