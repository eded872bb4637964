"""What training and inference will allocate, from the model's facts, the bundle's limits and its programs.

Base weights are mapped, never allocated. T = train_t_max, C = max_seq_len, R = max_rank, L = layers, H = hidden size,
D = head_dim, V = vocabulary; fp32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlora_export.lower.spec import MethodSpec
from pocketlora_export.plan.arena import PAGE, round_up, touched
from pocketlora_export.plan.kernels import AVX512, Scratch, Setting, gradient_norm, run

FLOAT = 4
PORT_BYTES = 512
# What the manifest's `scratch` assumes, and how many entries a table by rows has at most.
THREADS, ROW_STEPS = 4, 12
_ORDER = ("embed", "block_forward", "head_loss", "block_backward", "block_prefill", "head", "block_decode")


@dataclass(frozen=True)
class Shape:
    """What the estimate depends on. `sites`: (in, out) of every LoRA site."""

    hidden_size: int
    num_layers: int
    kv_width: int
    head_dim: int
    vocab_size: int
    sites: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Bounds:
    """The bundle's limits."""

    train_rows: int
    prefill_rows: int
    context: int
    rank: int
    segments: int


def arena(methods: Iterable[int]) -> int:
    """One arena of whole pages serves all methods of a program: the largest of their planned sizes."""
    return round_up(max(methods, default=0), PAGE)


def block_inputs(shape: Shape, rows: int) -> int:
    """(L + 1) · T · H · 4 in whole pages: the input of every block is kept for the backward, and the head's."""
    return round_up((shape.num_layers + 1) * rows * shape.hidden_size * FLOAT, PAGE)


def adapter(shape: Shape, rank: int) -> int:
    """Σ sites R · (in + out + 1) · 4: A, B and the scales."""
    return sum(rank * (features_in + features_out + 1) * FLOAT for features_in, features_out in shape.sites)


def gradients(shape: Shape, rank: int) -> int:
    """As large as the adapter, and those of one layer as its backward writes them."""
    return adapter(shape, rank) + _trainable(shape, rank) // shape.num_layers


def _trainable(shape: Shape, rank: int) -> int:
    return sum(rank * (features_in + features_out) * FLOAT for features_in, features_out in shape.sites)


def optimizer(shape: Shape, rank: int) -> int:
    """AdamW, two moments: 2 · Σ sites R · (in + out) · 4."""
    return 2 * _trainable(shape, rank)


def kv_cache(shape: Shape, context: int) -> int:
    """2 · L · C · Hkv·D · 4 in whole pages."""
    return round_up(2 * shape.num_layers * context * shape.kv_width * FLOAT, PAGE)


def training_values(shape: Shape, rows: int) -> int:
    """Values between the stages of training: one gradient [N, H] and the rotary table [N, D]."""
    return sum(round_up(FLOAT * rows * width, PAGE) for width in (shape.hidden_size, shape.head_dim))


def inference_values(shape: Shape, rows: int) -> int:
    """Values between the stages of inference: hidden twice [N, H], rotary table [N, D], logits [V]."""
    widths = (shape.hidden_size, shape.hidden_size, shape.head_dim)
    return sum(round_up(FLOAT * n, PAGE) for n in (*(rows * width for width in widths), shape.vocab_size))


def kernel_scratch(
    methods: Sequence[MethodSpec], extents: Mapping[str, int], parameters: int, setting: Setting
) -> Scratch:
    """The kernels' own scratch after steps (or texts) of all methods.

    Args:
        methods: those of one program.
        extents: the dynamic dimensions; N at most.
        parameters: of the adapter whose gradient norm is taken; 0 = none.
        setting: what else the scratch depends on.
    """
    scratch = Scratch(setting)
    walk = sorted(methods, key=lambda method: next(i for i, n in enumerate(_ORDER) if method.name.startswith(n)))
    for _ in range(2):  # a stack that had to grow is one chunk from the second time on
        for method in walk:
            run(scratch, method.trace.calls, {**extents, "N": min(extents["N"], method.t_max)})
        gradient_norm(scratch, parameters)
    return scratch


def row_steps(largest: int) -> list[int]:
    """The numbers of rows that a table has entries for: powers of two up to the largest, and the largest."""
    powers = [1 << k for k in range(largest.bit_length()) if 1 << k < largest]
    return [*powers[-(ROW_STEPS - 1) :], largest]


def other(ports: int) -> int:
    """What ExecuTorch allocates to load the methods, by their number of inputs and outputs (measured, not derived)."""
    return PORT_BYTES * ports


def _row(shape: Shape, bounds: Bounds, kind: str, methods: Sequence[MethodSpec], rows: int) -> dict[str, int]:
    largest = {
        "S1": bounds.segments + 1,
        "C": bounds.context,
        "K": FLOAT * shape.kv_width,
        "R": bounds.rank,
    }
    # What a limit is held to must not be too small: dropout, and the kernels with the largest register tile.
    setting = Setting(AVX512, dropout=True, past=bounds.context - rows)
    training = kind == "train"
    parameters = _trainable(shape, bounds.rank) // FLOAT if training else 0
    kernels = kernel_scratch(methods, {**largest, "N": rows}, parameters, setting)
    values = training_values(shape, rows) if training else inference_values(shape, rows)
    return {
        "rows": rows,
        "arena": touched(methods, rows, largest),
        "scratch": values + kernels.shared,
        "scratch_per_thread": kernels.per_thread,
    }


def by_rows(shape: Shape, bounds: Bounds, kind: str, methods: Sequence[MethodSpec]) -> list[dict[str, int]]:
    """The manifest's `train_rows` or `infer_rows`: what a program takes when no call has more than some rows."""
    rows = bounds.train_rows if kind == "train" else bounds.prefill_rows
    return [_row(shape, bounds, kind, methods, n) for n in row_steps(rows)]


def estimate(shape: Shape, bounds: Bounds, programs: Mapping[str, Sequence[MethodSpec]]) -> dict[str, Any]:
    """The manifest's `memory`: bytes by part, for training at T and R with AdamW and for inference at C.

    Args:
        shape: the model.
        bounds: the limits.
        programs: methods by kind of program ("train", "infer").
    """
    tables = {f"{kind}_rows": by_rows(shape, bounds, kind, methods) for kind, methods in programs.items()}
    ports = sum(len(method.inputs) + len(method.outputs) for methods in programs.values() for method in methods)
    return {
        "arena_train": arena(method.arena_bytes for method in programs["train"]),
        "arena_infer": arena(method.arena_bytes for method in programs["infer"]),
        "block_inputs": block_inputs(shape, bounds.train_rows),
        "adapter": adapter(shape, bounds.rank),
        "gradients": gradients(shape, bounds.rank),
        "optimizer": optimizer(shape, bounds.rank),
        "kv_cache": kv_cache(shape, bounds.context),
        "scratch": max(table[-1]["scratch"] + THREADS * table[-1]["scratch_per_thread"] for table in tables.values()),
        "other": other(ports),
        **tables,
    }


TRAINING_PARTS = ("arena_train", "block_inputs", "adapter", "gradients", "optimizer", "scratch", "other")
INFERENCE_PARTS = ("arena_infer", "adapter", "kv_cache", "scratch", "other")


def total(memory: Mapping[str, int], parts: Iterable[str]) -> int:
    """Sum of some parts."""
    return sum(memory[part] for part in parts)
