"""What training and inference will allocate, from the model's facts and the bundle's limits.

Base weights are mapped, never allocated. T = train_t_max, C = max_seq_len, R = max_rank, L = layers, H = hidden size,
D = head_dim, V = vocabulary; fp32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FLOAT = 4
INT64 = 8


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
    """Σ sites R · (in + out) · 4."""
    return sum(rank * (features_in + features_out) * FLOAT for features_in, features_out in shape.sites)


def optimizer(shape: Shape, rank: int) -> int:
    """AdamW: two moments, 2 · gradients."""
    return 2 * gradients(shape, rank)


def kv_cache(shape: Shape, context: int) -> int:
    """2 · L · C · Hkv·D · 4."""
    return 2 * shape.num_layers * context * shape.kv_width * FLOAT


def scratch(shape: Shape, rows: int) -> int:
    """Between stages: two gradients [T, H], rotary table [T, D], logprobs, weights; tokens, positions, labels."""
    return rows * (FLOAT * (2 * shape.hidden_size + shape.head_dim + 2) + 3 * INT64)


def other(shape: Shape, rows: int) -> int:
    """Inference: logits [V], hidden in and out [T, H], new key and value rows [T, Hkv·D] of one layer."""
    return FLOAT * (shape.vocab_size + 2 * rows * (shape.hidden_size + shape.kv_width))


def estimate(shape: Shape, bounds: Bounds, arenas: Mapping[str, Iterable[int]]) -> dict[str, int]:
    """The manifest's `memory`: bytes by part, for training at T and R with AdamW and for inference at C.

    Args:
        shape: the model.
        bounds: the limits.
        arenas: planned bytes of every method, by kind of program ("train", "infer").
    """
    return {
        "arena_train": arena(arenas.get("train", ())),
        "arena_infer": arena(arenas.get("infer", ())),
        "block_inputs": block_inputs(shape, bounds.train_rows),
        "adapter": adapter(shape, bounds.rank),
        "gradients": gradients(shape, bounds.rank),
        "optimizer": optimizer(shape, bounds.rank),
        "kv_cache": kv_cache(shape, bounds.context),
        "scratch": scratch(shape, bounds.train_rows),
        "other": other(shape, bounds.prefill_rows),
    }


TRAINING_PARTS = ("arena_train", "block_inputs", "adapter", "gradients", "optimizer", "scratch")
INFERENCE_PARTS = ("arena_infer", "adapter", "kv_cache", "other")


def total(memory: Mapping[str, int], parts: Iterable[str]) -> int:
    """Sum of some parts."""
    return sum(memory[part] for part in parts)
