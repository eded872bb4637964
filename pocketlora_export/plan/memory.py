"""What training and inference will allocate, from the model's facts and the bundle's limits.

Base weights are mapped, never allocated. T = train_t_max, C = max_seq_len, R = max_rank, L = layers, H = hidden size,
D = head_dim, V = vocabulary; fp32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FLOAT = 4
PORT_BYTES = 512
PAGE = 4096
# The kernels work on at most 256 rows at once, the head on 768 tokens of the vocabulary; panels are 16 wide.
ROW_BLOCK, VOCABULARY_CHUNK, PANEL = 256, 768, 16
THREADS = 4


@dataclass(frozen=True)
class Shape:
    """What the estimate depends on. `widest`: most features of a linear; `sites`: (in, out) of every LoRA site."""

    hidden_size: int
    widest: int
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


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def arena(methods: Iterable[int]) -> int:
    """One arena of whole pages serves all methods of a program: the largest of their planned sizes."""
    return _round_up(max(methods, default=0), PAGE)


def block_inputs(shape: Shape, rows: int) -> int:
    """(L + 1) · T · H · 4 in whole pages: the input of every block is kept for the backward, and the head's."""
    return _round_up((shape.num_layers + 1) * rows * shape.hidden_size * FLOAT, PAGE)


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
    return _round_up(2 * shape.num_layers * context * shape.kv_width * FLOAT, PAGE)


def kernel_scratch(shape: Shape, rows: int, rank: int) -> int:
    """What the kernels take for themselves, with four threads: (shared + 4 · own) · 4.

    B = min(rows, 256) and Rp = R, both rounded up to 16; W = the widest layer. Shared: x packed [B, W] and x·Aᵀ in two
    orders, or h packed [B, H] with logits [B, 768], or A packed [Rp, W]. Own, of each thread: 16 × 2 decoded tiles with
    B rows of dy, of panels and of masked values, or 64 rows of x.
    """
    block, ranks, wide = _round_up(min(rows, ROW_BLOCK), PANEL), _round_up(rank, PANEL), _round_up(shape.widest, PANEL)
    intermediate = 2 * rows * ranks
    head = block * (shape.hidden_size + VOCABULARY_CHUNK)
    shared = max(intermediate + block * (wide + ranks), head, intermediate + ranks * wide)
    decoded = 16 * 16 * 2 * 128
    own = max(decoded + block * 2 * 256 + 256 * ranks, 64 * max(wide, rows))
    return (shared + THREADS * own) * FLOAT


def scratch(shape: Shape, bounds: Bounds) -> int:
    """Values between stages, of training or inference, whichever is more (never both at once), and the kernels' own.

    Training: one gradient [T, H] and the rotary table [T, D]. Inference, P = prefill rows: hidden twice [P, H], rotary
    table [P, D], logits [V].
    """
    training = bounds.train_rows * (shape.hidden_size + shape.head_dim)
    inference = bounds.prefill_rows * (2 * shape.hidden_size + shape.head_dim) + shape.vocab_size
    kernels = kernel_scratch(shape, max(bounds.train_rows, bounds.prefill_rows), bounds.rank)
    return FLOAT * max(training, inference) + kernels


def other(ports: int) -> int:
    """What ExecuTorch allocates to load the methods, by their number of inputs and outputs (measured, not derived)."""
    return PORT_BYTES * ports


def estimate(shape: Shape, bounds: Bounds, arenas: Mapping[str, Iterable[int]], ports: int) -> dict[str, int]:
    """The manifest's `memory`: bytes by part, for training at T and R with AdamW and for inference at C.

    Args:
        shape: the model.
        bounds: the limits.
        arenas: planned bytes of every method, by kind of program ("train", "infer").
        ports: inputs and outputs of all methods.
    """
    return {
        "arena_train": arena(arenas.get("train", ())),
        "arena_infer": arena(arenas.get("infer", ())),
        "block_inputs": block_inputs(shape, bounds.train_rows),
        "adapter": adapter(shape, bounds.rank),
        "gradients": gradients(shape, bounds.rank),
        "optimizer": optimizer(shape, bounds.rank),
        "kv_cache": kv_cache(shape, bounds.context),
        "scratch": scratch(shape, bounds),
        "other": other(ports),
    }


TRAINING_PARTS = ("arena_train", "block_inputs", "adapter", "gradients", "optimizer", "scratch", "other")
INFERENCE_PARTS = ("arena_infer", "adapter", "kv_cache", "scratch", "other")


def total(memory: Mapping[str, int], parts: Iterable[str]) -> int:
    """Sum of some parts."""
    return sum(memory[part] for part in parts)
