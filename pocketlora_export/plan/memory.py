"""What training and inference will allocate, from the model's facts, the bundle's limits and its programs.

Base weights are mapped, never allocated. T = train_t_max, C = max_seq_len, R = max_rank, L = layers, H = hidden size,
D = head_dim, V = vocabulary; fp32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pocketlora_export.families.base import ModelFacts
from pocketlora_export.graphs.trace import StageTrace
from pocketlora_export.lower.spec import MethodSpec
from pocketlora_export.plan.arena import PAGE, round_up, touched
from pocketlora_export.plan.kernels import AVX512, Scratch, Setting, gradient_norm, run

FLOAT = 4
# An adapter's matrices begin at cache lines of so many floats.
LINE = 16
# AdamW in 8 bits: values of one scale, and the smallest matrix that is kept so.
MOMENT_BLOCK = 256
MOMENTS_8BIT_FROM = 4096
# Rows by which a sliding window moves on before the cache gives back its tail.
WINDOW_RELEASE = 64
# Measured: 363 in training, 282 in inference.
PORT_BYTES = 360
# What the manifest's `scratch` assumes, and how many entries a table by rows has at most.
THREADS, ROW_STEPS = 4, 12
_TRAINING = ("embed", "block_forward", "head_loss", "block_backward")
_ORDER = (*_TRAINING, "block_prefill", "block_keys", "head", "block_decode")


@dataclass(frozen=True)
class Shape:
    """What the estimate depends on.

    `rope_width`: columns of all rotary tables together. `windows`: of each layer, None = it sees everything before.
    `sites`: (in, out) of every LoRA site.
    """

    hidden_size: int
    num_layers: int
    num_kv_heads: int
    head_dim: int
    rope_width: int
    vocab_size: int
    windows: tuple[int | None, ...]
    sites: tuple[tuple[int, int], ...]


def shape_of(facts: ModelFacts, sites: Sequence[tuple[int, int]], windows: Sequence[int | None]) -> Shape:
    """The sizes that memory depends on. `sites`: (in, out) features of every LoRA site; `windows` of the layers."""
    return Shape(
        hidden_size=facts.hidden_size,
        num_layers=facts.num_layers,
        num_kv_heads=facts.num_kv_heads,
        head_dim=facts.head_dim,
        rope_width=sum(table.dim for table in facts.rope),
        vocab_size=facts.vocab_size,
        windows=tuple(windows),
        sites=tuple(sites),
    )


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


def block_inputs(shape: Shape, rows: int, value_bytes: int = FLOAT) -> int:
    """The inputs of the L blocks and of the head, kept for the backward.

    fp32: L + 1 states [rows, H] where they are written. Two bytes a value: two states in fp32 that blocks read and
    write, and L - 1 kept ones.
    """
    state = rows * shape.hidden_size
    if value_bytes == FLOAT:
        return round_up((shape.num_layers + 1) * state * FLOAT, PAGE)
    kept = (shape.num_layers - 1) * state * value_bytes
    return round_up(2 * state * FLOAT, PAGE) + round_up(kept, PAGE)


def kept_products(columns: Sequence[int], rows: int) -> int:
    """The products that some blocks keep for the backward, fp32; `columns` of each such block."""
    return round_up(FLOAT * rows * sum(columns), PAGE)


def parameters(shape: Shape, rank: int) -> int:
    """Elements of A and B of every site, each matrix in whole cache lines."""
    return sum(
        round_up(rank * features_in, LINE) + round_up(rank * features_out, LINE)
        for features_in, features_out in shape.sites
    )


def adapter(shape: Shape, rank: int) -> int:
    """A, B and the scales of every site, in whole cache lines."""
    return FLOAT * (parameters(shape, rank) + len(shape.sites) * round_up(rank, LINE))


def layer_gradients(shape: Shape, rank: int) -> int:
    """Those of one layer, before they are added to the others: touched when a step has several passes."""
    per_layer = sum(rank * (a + b) for a, b in shape.sites) // max(shape.num_layers, 1)
    return round_up(FLOAT * per_layer, PAGE)


def gradients(shape: Shape, rank: int, passes: int = 2) -> int:
    """As large as the adapter, and those of one layer when a step has several passes."""
    return adapter(shape, rank) + (layer_gradients(shape, rank) if passes > 1 else 0)


def optimizer(shape: Shape, rank: int, kind: str = "adamw") -> int:
    """The state's vectors, for A and B of every site: see docs/plan.md."""
    matrices = [(rank, features) for site in shape.sites for features in site]
    moments = {"adamw": 2, "adamw-8bit": 2, "lion": 1, "sgd-momentum": 1, "sgd": 0}
    if kind == "adafactor":
        return FLOAT * sum(rows + columns for rows, columns in matrices)
    return moments[kind] * sum(_moment(rows * columns, kind == "adamw-8bit") for rows, columns in matrices)


def _moment(elements: int, in_8_bits: bool) -> int:
    """One number an element: fp32, or a byte and a scale for every block; small matrices stay fp32 (torchao)."""
    if in_8_bits and elements >= MOMENTS_8BIT_FROM and elements % MOMENT_BLOCK == 0:
        return elements + FLOAT * elements // MOMENT_BLOCK
    return FLOAT * elements


def cache_row(shape: Shape, dtype: str = "fp32") -> int:
    """Bytes of one row of keys, or of values, in one layer. int8: a value a byte, and a scale (fp32) a head."""
    head = {"fp32": 4 * shape.head_dim, "fp16": 2 * shape.head_dim, "int8": shape.head_dim + FLOAT}[dtype]
    return shape.num_kv_heads * head


def cached_rows(context: int, window: int | None, prefill: int) -> int:
    """Rows that stay in memory: all, or with a sliding window those that some token of a prefill sees.

    The tail behind the window is given back when it has 64 rows.
    """
    return context if window is None else min(context, window + prefill + WINDOW_RELEASE)


def kv_cache(shape: Shape, context: int, dtype: str = "fp32") -> int:
    """2 · L · C rows in whole pages."""
    return round_up(2 * shape.num_layers * context * cache_row(shape, dtype), PAGE)


def resident_cache(shape: Shape, context: int, prefill: int, dtype: str = "fp32") -> int:
    """What of a full cache stays in memory, layers with a window giving rows back."""
    rows = sum(cached_rows(context, window, prefill) for window in shape.windows)
    return round_up(2 * rows * cache_row(shape, dtype), PAGE)


def training_values(shape: Shape, rows: int) -> int:
    """Values between the stages of training: one gradient [N, H] and the rotary tables [N, their columns]."""
    return sum(round_up(FLOAT * rows * width, PAGE) for width in (shape.hidden_size, shape.rope_width))


def inference_values(shape: Shape, rows: int, dtype: str = "fp32") -> int:
    """Values between the stages of inference: hidden twice [N, H], rotary tables, logits [V].

    New keys and values are written in place, or first beside a cache that is not fp32.
    """
    widths = (shape.hidden_size, shape.hidden_size, shape.rope_width)
    values = sum(round_up(FLOAT * n, PAGE) for n in (*(rows * width for width in widths), shape.vocab_size))
    staged = 0 if dtype == "fp32" else round_up(2 * rows * cache_row(shape), PAGE)
    return values + staged


def kernel_scratch(
    traces: Sequence[StageTrace], extents: Mapping[str, int], parameters: int, setting: Setting
) -> Scratch:
    """The kernels' own scratch after steps (or texts) of all stages.

    Args:
        traces: the stages of one program.
        extents: the dynamic dimensions; N at most.
        parameters: of the adapter whose gradient norm is taken; 0 = none.
        setting: what else the scratch depends on.
    """
    scratch = Scratch(setting)
    walk = sorted(traces, key=lambda stage: next(i for i, name in enumerate(_ORDER) if stage.name.startswith(name)))
    for _ in range(2):  # a stack that had to grow is one chunk from the second time on
        for stage in walk:
            run(scratch, stage.calls, {**extents, "N": min(extents["N"], stage.rows)})
        if parameters:
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
        "K": cache_row(shape),
        "R": bounds.rank,
    }
    # What a limit is held to must not be too small: dropout, and the kernels with the largest register tile.
    setting = Setting(AVX512, dropout=True, past=bounds.context - rows, integers=True)
    training = kind == "train"
    trained = parameters(shape, bounds.rank) if training else 0
    kernels = kernel_scratch([method.trace for method in methods], {**largest, "N": rows}, trained, setting)
    values = training_values(shape, rows) if training else inference_values(shape, rows)
    return {
        "rows": rows,
        "arena": touched(methods, rows, largest),
        # The calling thread may hold less than another one, whose chunks were cut at other times.
        "scratch": max(values + kernels.shared_peak, 0),
        "scratch_per_thread": kernels.per_thread_peak,
    }


def by_rows(shape: Shape, bounds: Bounds, kind: str, methods: Sequence[MethodSpec]) -> list[dict[str, int]]:
    """A program's `memory_rows` in the manifest: what it takes when no call has more than some rows."""
    rows = bounds.train_rows if kind == "train" else bounds.prefill_rows
    return [_row(shape, bounds, kind, methods, n) for n in row_steps(rows)]


Rows = Sequence[Mapping[str, int]]


def estimate(
    shape: Shape, bounds: Bounds, programs: Mapping[str, Sequence[MethodSpec]], tables: Mapping[str, Rows]
) -> dict[str, int]:
    """The manifest's `memory`: bytes by part, for training at T and R with AdamW and for inference at C.

    Args:
        shape: the model.
        bounds: the limits.
        programs: methods by kind of program ("train", "infer").
        tables: what `by_rows` says of each.
    """
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
    }


TRAINING_PARTS = ("arena_train", "block_inputs", "adapter", "gradients", "optimizer", "scratch", "other")
INFERENCE_PARTS = ("arena_infer", "adapter", "kv_cache", "scratch", "other")


def total(memory: Mapping[str, int], parts: Iterable[str]) -> int:
    """Sum of some parts."""
    return sum(memory[part] for part in parts)
