"""Cuts the columns of a tensor in pieces, with a backward that puts them together again."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


class _Columns(torch.autograd.Function):
    """Slices; autograd's own backward of a slice fills a tensor of the whole size for each piece."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *widths: int) -> tuple[Tensor, ...]:
        ctx.pieces = len(widths)
        cuts = accumulate(widths, initial=0)
        return tuple(x[:, begin:end] for begin, end in pairwise(cuts))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return torch.cat(grads, dim=1), *([None] * ctx.pieces)


def columns(x: Tensor, widths: list[int]) -> tuple[Tensor, ...]:
    """f32 [N, sum of widths] -> one f32 [N, width] for each width."""
    pieces: tuple[Tensor, ...] = _Columns.apply(x, *widths)  # type: ignore[no-untyped-call]
    return pieces
