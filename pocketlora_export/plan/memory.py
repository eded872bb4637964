"""What training and inference will allocate, from the model's facts and the bundle's limits.

Base weights are mapped, never allocated. T = train_t_max, C = max_seq_len, R = max_rank, L = layers, H = hidden size,
D = head_dim, V = vocabulary; fp32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FLOAT = 4
PORT_BYTES = 1024


@dataclass(frozen=True)
class Shape:
    """What the estimate depends on. `sites`: (in_features, out_features) of every LoRA site."""

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


def arena(methods: Iterable[int]) -> int:
    """One arena serves all methods of a program: the largest of their planned sizes."""
    return max(methods, default=0)


def block_inputs(shape: Shape, rows: int) -> int:
    """(L + 1) · T · H · 4: the input of every block is kept for the backward, and the head's."""
    return (shape.num_layers + 1) * rows * shape.hidden_size * FLOAT


def adapter(shape: Shape, rank: int) -> int:
    """Σ sites R · (in + out + 1) · 4: A, B and the scales."""
    return sum(rank * (features_in + features_out + 1) * FLOAT for features_in, features_out in shape.sites)


def gradients(shape: Shape, rank: int) -> int:
    """Accumulated, Σ sites R · (in + out) · 4, and those of one layer as its backward writes them."""
    accumulated = _trainable(shape, rank)
    return accumulated + accumulated // shape.num_layers


def _trainable(shape: Shape, rank: int) -> int:
    return sum(rank * (features_in + features_out) * FLOAT for features_in, features_out in shape.sites)


def optimizer(shape: Shape, rank: int) -> int:
    """AdamW, two moments: 2 · Σ sites R · (in + out) · 4."""
    return 2 * _trainable(shape, rank)


def kv_cache(shape: Shape, context: int) -> int:
    """2 · L · C · Hkv·D · 4."""
    return 2 * shape.num_layers * context * shape.kv_width * FLOAT


def scratch(shape: Shape, train_rows: int, prefill_rows: int) -> int:
    """Values between stages; training and inference do not run at once, so the larger of the two.

    Training: one gradient [T, H] and the rotary table [T, D]. Inference, P = prefill rows: hidden twice [P, H], rotary
    table [P, D], logits [V].
    """
    training = train_rows * (shape.hidden_size + shape.head_dim)
    inference = prefill_rows * (2 * shape.hidden_size + shape.head_dim) + shape.vocab_size
    return FLOAT * max(training, inference)


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
        "scratch": scratch(shape, bounds.train_rows, bounds.prefill_rows),
        "other": other(ports),
    }


TRAINING_PARTS = ("arena_train", "block_inputs", "adapter", "gradients", "optimizer", "scratch", "other")
INFERENCE_PARTS = ("arena_infer", "adapter", "kv_cache", "scratch", "other")


def total(memory: Mapping[str, int], parts: Iterable[str]) -> int:
    """Sum of some parts."""
    return sum(memory[part] for part in parts)
