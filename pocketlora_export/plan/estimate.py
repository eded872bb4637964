"""Memory of one setting of training or inference, by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pocketlora_export.plan import memory
from pocketlora_export.plan.arena import arena_bound
from pocketlora_export.plan.kernels import NEON, Registers, Setting
from pocketlora_export.plan.model import PlannedModel, PlannedProgram
from pocketlora_export.plan.process import LIBRARIES, process_bytes

Optimizer = Literal["adamw", "adamw-8bit", "adafactor", "lion", "sgd", "sgd-momentum"]
Activations = Literal["fp32", "fp16", "bf16"]
Recompute = Literal["auto", "full", "selective"]
CacheType = Literal["fp32", "fp16", "int8"]
VALUE_BYTES: dict[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2}
# Rows of one prefill call unless the recipe says otherwise.
PREFILL_ROWS = 256
# The runtime takes one thread a core unless told; phones of the last years have eight.
PHONE_THREADS = 8


@dataclass(frozen=True)
class Training:
    """A pass of `micro_batch` sequences of `sequence` tokens, in a bundle exported for just as many rows.

    `kept_blocks`: of "auto", how many keep products for the backward; the others follow from `recompute`.
    """

    sequence: int
    micro_batch: int = 1
    rank: int = 16
    optimizer: Optimizer = "adamw"
    activations: Activations = "fp32"
    dropout: bool = False
    accumulation: int = 1
    recompute: Recompute = "full"
    kept_blocks: int = 0

    def keeps(self, num_layers: int) -> int:
        """How many blocks keep products for the backward."""
        return {"full": 0, "selective": num_layers, "auto": self.kept_blocks}[self.recompute]

    @property
    def rows(self) -> int:
        """Token rows of a pass."""
        return self.sequence * self.micro_batch


@dataclass(frozen=True)
class Inference:
    """A context filled to its end; `rank` of all adapters of the session together."""

    context: int
    cache: CacheType = "fp32"
    rank: int = 16
    prefill: int = PREFILL_ROWS


@dataclass(frozen=True)
class Machine:
    """What the memory depends on beside the setting: threads, and the register tile of the kernels."""

    threads: int = PHONE_THREADS
    registers: Registers = NEON


@dataclass(frozen=True)
class Estimate:
    """Bytes. `file`: file-backed pages when all of the base has been used (RssFile), which the system may drop."""

    arena: int
    block_inputs: int
    adapter: int
    gradients: int
    optimizer: int
    kv_cache: int
    scratch: int
    other: int
    process: int
    file: int

    @property
    def parts(self) -> dict[str, int]:
        """The parts of anonymous memory."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def anonymous(self) -> int:
        """RssAnon: memory that cannot be dropped."""
        return sum(self.parts.values())


PARTS = (
    "arena", "block_inputs", "adapter", "gradients", "optimizer", "kv_cache", "scratch", "other", "process"
)  # fmt: skip


def _extents(rows: int, segments: int, context: int, cache_row: int, rank: int) -> dict[str, int]:
    return {"N": rows, "S1": segments + 1, "C": context, "K": cache_row, "R": rank}


def _scratch(program: PlannedProgram, extents: dict[str, int], setting: Setting, trained: int, threads: int) -> int:
    kernels = memory.kernel_scratch(program.traces, extents, trained, setting)
    return kernels.held(threads)


def training(model: PlannedModel, setting: Training, machine: Machine) -> Estimate:
    """What a trainer holds after its first step."""
    shape, rank = model.shape, setting.rank
    extents = _extents(setting.rows, setting.micro_batch, 1, memory.cache_row(shape), rank)
    kernels = Setting(machine.registers, setting.dropout, segment=setting.sequence)
    trained = memory.parameters(shape, rank)
    keeps = setting.keeps(shape.num_layers)
    program = model.train.walked(keeps, shape.num_layers)
    scratch = _scratch(program, extents, kernels, trained, machine.threads)
    inputs = memory.block_inputs(shape, setting.rows, VALUE_BYTES[setting.activations])
    return Estimate(
        arena=arena_bound(program.traces, extents),
        # The last blocks keep theirs.
        block_inputs=inputs + memory.kept_products(model.kept_columns[shape.num_layers - keeps :], setting.rows),
        adapter=memory.adapter(shape, rank),
        gradients=memory.gradients(shape, rank, setting.accumulation),
        optimizer=memory.optimizer(shape, rank, setting.optimizer),
        kv_cache=0,
        scratch=memory.training_values(shape, setting.rows) + scratch,
        other=memory.other(program.ports),
        process=process_bytes(shape, model.num_tensors, machine.threads),
        file=model.base_bytes + LIBRARIES,
    )


def inference(model: PlannedModel, setting: Inference, machine: Machine) -> Estimate:
    """What a session holds when its context is full, with adapters of `rank` in all."""
    shape, rows = model.shape, min(setting.prefill, setting.context)
    extents = _extents(rows, 1, setting.context, memory.cache_row(shape, setting.cache), setting.rank)
    kernels = Setting(machine.registers, past=setting.context - rows)
    scratch = _scratch(model.infer, extents, kernels, 0, machine.threads)
    return Estimate(
        arena=arena_bound(model.infer.traces, extents),
        block_inputs=0,
        adapter=memory.adapter(shape, setting.rank),
        gradients=0,
        optimizer=0,
        kv_cache=memory.resident_cache(shape, setting.context, rows, setting.cache),
        scratch=memory.inference_values(shape, rows, setting.cache) + scratch,
        other=memory.other(model.infer.ports),
        process=process_bytes(shape, model.num_tensors, machine.threads),
        file=model.base_bytes + LIBRARIES,
    )
