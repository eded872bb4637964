"""Rotary position embedding: the table of a token block, and its application to heads (halves convention)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.library import autograd, define


def _table(positions: Tensor, inv_freq: Tensor, scaling: float) -> Tensor:
    angles = positions.float()[:, None] * inv_freq[None, :]
    return torch.cat((angles.cos() * scaling, angles.sin() * scaling), dim=1)


def _rotate(x: Tensor, table: Tensor, head_dim: int, inverse: bool) -> Tensor:
    rows, rotated = x.shape[0], table.shape[1]
    cos, sin = table[:, None, : rotated // 2], table[:, None, rotated // 2 :]
    sin = -sin if inverse else sin
    heads = x.view(rows, -1, head_dim)
    low, high = heads[..., : rotated // 2], heads[..., rotated // 2 : rotated]
    parts = (low * cos - high * sin, high * cos + low * sin, heads[..., rotated:])
    return torch.cat(parts, dim=-1).reshape(rows, -1)


rope_table = define(
    "rope_table",
    "Tensor positions, Tensor inv_freq, float scaling",
    returns=1,
    reference=_table,
    fake=lambda positions, inv_freq, scaling: inv_freq.new_empty(positions.shape[0], 2 * inv_freq.shape[0]),
)
rope = define(
    "rope",
    "Tensor x, Tensor table, int head_dim, bool inverse",
    returns=1,
    reference=_rotate,
    fake=lambda x, table, head_dim, inverse: torch.empty_like(x),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    _, table, ctx.head_dim, ctx.inverse = inputs
    ctx.save_for_backward(table)


def _formula(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (table,) = ctx.saved_tensors
    return rope(dy, table, ctx.head_dim, not ctx.inverse), None, None, None


autograd("rope", _formula, _setup)
