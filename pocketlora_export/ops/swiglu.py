"""SwiGLU gate, silu(gate) * up, and its backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.library import autograd, define


def _forward(gate: Tensor, up: Tensor) -> Tensor:
    return torch.nn.functional.silu(gate) * up


def _backward(dy: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    sigmoid = torch.sigmoid(gate)
    dgate = dy * up * sigmoid * (1 + gate * (1 - sigmoid))
    return dgate, dy * gate * sigmoid


swiglu = define(
    "swiglu", "Tensor gate, Tensor up", returns=1, reference=_forward, fake=lambda gate, up: torch.empty_like(gate)
)
swiglu_backward = define(
    "swiglu_backward",
    "Tensor dy, Tensor gate, Tensor up",
    returns=2,
    reference=_backward,
    fake=lambda dy, gate, up: (torch.empty_like(gate), torch.empty_like(up)),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _formula(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
    gate, up = ctx.saved_tensors
    dgate, dup = swiglu_backward(dy, gate, up)
    return dgate, dup


autograd("swiglu", _formula, _setup)
