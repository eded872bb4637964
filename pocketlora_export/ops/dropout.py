"""The LoRA dropout mask: a counter-based hash, so that the backward recomputes it (docs/stages.md)."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(value: Tensor) -> Tensor:
    """32-bit integer hash in int64 arithmetic; the low 32 bits of each product are exact."""
    value = value ^ (value >> 16)
    value = (value * 0x7FEB352D) & _MASK
    value = value ^ (value >> 15)
    value = (value * 0x846CA68B) & _MASK
    return value ^ (value >> 16)


def uniform(rows: int, cols: int, seed: int, site: int) -> Tensor:
    """u(i, j) in [0, 1) for one site, fp32 [rows, cols]."""
    start = _mix(torch.tensor(seed & _MASK))
    columns = _mix((torch.arange(cols) + _mix((site + start) & _MASK)) & _MASK)
    hashed = _mix((torch.arange(rows)[:, None] * 0x9E3779B1 + columns[None, :]) & _MASK)
    return (hashed >> 8).float() * 2.0**-24


def keep_scale(x: Tensor, dropout: Tensor | None, seed: Tensor | None, site: int) -> Tensor:
    """What x is multiplied by: 0 where dropped, 1 / (1 - p) where kept; a scalar 1 without dropout."""
    if dropout is None or seed is None or dropout.item() == 0:
        return torch.ones(())
    p = float(dropout.item())
    keep = uniform(x.shape[0], x.shape[1], int(seed.item()), site) >= p
    return keep.float() / (1 - p)
