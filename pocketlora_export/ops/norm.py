"""RMSNorm and LayerNorm with their backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.library import autograd, define


def _groups(x: Tensor, weight: Tensor | None) -> Tensor:
    """[N, groups, size of the weight]; one group where there is no weight."""
    size = x.shape[1] if weight is None else weight.shape[0]
    return x.reshape(x.shape[0], x.shape[1] // size, size)


def _forward(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = _groups(x, weight)
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight).flatten(-2)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x, scaled = _groups(x, weight), _groups(dy, weight) * weight
    rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return (rstd * scaled - x * rstd.pow(3) * (scaled * x).mean(-1, keepdim=True)).flatten(-2)


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


def _layer_forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    groups = _groups(x, weight)
    return torch.nn.functional.layer_norm(groups, groups.shape[-1:], weight, bias, eps).flatten(-2)


def _layer_backward(dy: Tensor, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    groups, scaled = _groups(x, weight), _groups(dy, weight)
    centred = groups - groups.mean(-1, keepdim=True)
    rstd = torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + eps)
    normed = centred * rstd
    scaled = scaled if weight is None else scaled * weight
    along = normed * (scaled * normed).mean(-1, keepdim=True)
    return (rstd * (scaled - scaled.mean(-1, keepdim=True) - along)).flatten(-2)


layer_norm = define(
    "layer_norm",
    "Tensor x, Tensor? weight, Tensor? bias, float eps",
    returns=1,
    reference=_layer_forward,
    fake=lambda x, weight, bias, eps: torch.empty_like(x),
)
layer_norm_backward = define(
    "layer_norm_backward",
    "Tensor dy, Tensor x, Tensor? weight, float eps",
    returns=1,
    reference=_layer_backward,
    fake=lambda dy, x, weight, eps: torch.empty_like(x),
)


def _layer_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weight, _, ctx.eps = inputs
    ctx.save_for_backward(x, weight)


def _layer_formula(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    return layer_norm_backward(dy, x, weight, ctx.eps), None, None, None


autograd("layer_norm", _layer_formula, _layer_setup)
