"""Activations x · σ(z(x)), gated or alone, with their backward, and the soft cap of logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from pocketlora_export.ops.library import Op, autograd, define

# z(x) of GELU with its tanh: (1 + tanh u) / 2 = σ(2u).
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def _silu_slope(x: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


def _gelu(x: Tensor) -> Tensor:
    return gelu(x, approximate="tanh")


def _gelu_slope(x: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(x * (_LINEAR + _CUBIC * x * x))
    return sigmoid * (1 + x * (_LINEAR + 3 * _CUBIC * x * x) * (1 - sigmoid))


def _define_gated(name: str, value: Any, slope: Any) -> tuple[Op, Op]:
    """`name(gate, up)` = value(gate) · up, and its backward."""
    forward = define(
        name,
        "Tensor gate, Tensor up",
        returns=1,
        reference=lambda gate, up: value(gate) * up,
        fake=lambda gate, up: torch.empty_like(gate),
    )
    backward = define(
        f"{name}_backward",
        "Tensor dy, Tensor gate, Tensor up",
        returns=2,
        reference=lambda dy, gate, up: (dy * up * slope(gate), dy * value(gate)),
        fake=lambda dy, gate, up: (torch.empty_like(gate), torch.empty_like(up)),
    )

    def formula(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        dgate, dup = backward(dy, *ctx.saved_tensors)
        return dgate, dup

    autograd(name, formula, _save_inputs)
    return forward, backward


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


swiglu, swiglu_backward = _define_gated("swiglu", silu, _silu_slope)
geglu_tanh, geglu_tanh_backward = _define_gated("geglu_tanh", _gelu, _gelu_slope)
gelu_tanh = define("gelu_tanh", "Tensor x", returns=1, reference=_gelu, fake=torch.empty_like)
gelu_tanh_backward = define(
    "gelu_tanh_backward",
    "Tensor dy, Tensor x",
    returns=1,
    reference=lambda dy, x: dy * _gelu_slope(x),
    fake=lambda dy, x: torch.empty_like(x),
)
soft_cap = define(
    "soft_cap",
    "Tensor x, float cap",
    returns=1,
    reference=lambda x, cap: cap * torch.tanh(x / cap),
    fake=lambda x, cap: torch.empty_like(x),
)


def _formula(ctx: Any, dy: Tensor) -> Tensor:
    dx: Tensor = gelu_tanh_backward(dy, *ctx.saved_tensors)
    return dx


autograd("gelu_tanh", _formula, _save_inputs)
