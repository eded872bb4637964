"""RMSNorm and its backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.library import autograd, define


def _forward(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def _backward(dy: Tensor, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    scaled = dy * weight
    return rstd * scaled - x * rstd.pow(3) * (scaled * x).mean(-1, keepdim=True)


rms_norm = define(
    "rms_norm",
    "Tensor x, Tensor weight, float eps",
    returns=1,
    reference=_forward,
    fake=lambda x, weight, eps: torch.empty_like(x),
)
rms_norm_backward = define(
    "rms_norm_backward",
    "Tensor dy, Tensor x, Tensor weight, float eps",
    returns=1,
    reference=_backward,
    fake=lambda dy, x, weight, eps: torch.empty_like(x),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weight, ctx.eps = inputs
    ctx.save_for_backward(x, weight)


def _formula(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    return rms_norm_backward(dy, x, weight, ctx.eps), None, None


autograd("rms_norm", _formula, _setup)
