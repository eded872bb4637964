"""Norms, rotary embedding and activations from ops that the Vulkan delegate takes."""

from __future__ import annotations

import math

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  (defines et_vk)
import torch
from torch import Tensor

_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def _groups(x: Tensor, weight: Tensor | None) -> Tensor:
    """[N * groups, size of the weight]; whole rows where there is no weight."""
    return x if weight is None else x.reshape(-1, weight.shape[0])


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`rms_norm`; the weight is a constant, as the runtime demands."""
    normed: Tensor = torch.ops.et_vk.rms_norm(_groups(x, weight), weight, eps)
    return normed.reshape(x.shape)


def rms_norm_backward(dy: Tensor, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`rms_norm_backward`."""
    groups, scaled = _groups(x, weight), _groups(dy, weight) * weight
    rstd = torch.rsqrt((groups * groups).mean(-1, keepdim=True) + eps)
    along = (scaled * groups).mean(-1, keepdim=True) * rstd * rstd
    return (rstd * (scaled - groups * along)).reshape(x.shape)


def _centred(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x - mean, and 1 / its deviation."""
    centred = x - x.mean(-1, keepdim=True)
    return centred, torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """`layer_norm`."""
    centred, rstd = _centred(_groups(x, weight), eps)
    normed = centred * rstd
    normed = normed if weight is None else normed * weight
    return (normed if bias is None else normed + bias).reshape(x.shape)


def layer_norm_backward(dy: Tensor, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """`layer_norm_backward`."""
    scaled = _groups(dy, weight)
    scaled = scaled if weight is None else scaled * weight
    centred, rstd = _centred(_groups(x, weight), eps)
    normed = centred * rstd
    along = normed * (scaled * normed).mean(-1, keepdim=True)
    return (rstd * (scaled - scaled.mean(-1, keepdim=True) - along)).reshape(x.shape)


def rope_table(positions: Tensor, inv_freq: Tensor, scaling: float) -> Tensor:
    """`rope_table`."""
    angles = positions.to(torch.float32).view(-1, 1) * inv_freq.view(1, -1)
    return torch.cat((torch.cos(angles) * scaling, torch.sin(angles) * scaling), dim=1)


def rope(x: Tensor, table: Tensor, head_dim: int, inverse: bool) -> Tensor:
    """`rope`."""
    rows, half = x.shape[0], table.shape[1] // 2
    cos, sin = (part.reshape(rows, 1, half) for part in (table[:, :half], table[:, half:]))
    heads = x.view(rows, -1, head_dim)
    low, high = heads[..., :half], heads[..., half : 2 * half]
    if inverse:
        parts = [low * cos + high * sin, high * cos - low * sin]
    else:
        parts = [low * cos - high * sin, high * cos + low * sin]
    rest = [heads[..., 2 * half :]] if 2 * half < head_dim else []
    return torch.cat((*parts, *rest), dim=-1).reshape(x.shape)


def _gate(x: Tensor) -> Tensor:
    """σ(z(x)) of GELU with its tanh."""
    return torch.sigmoid(x * (x * x * _CUBIC + _LINEAR))


def _silu_slope(x: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(x)
    return sigmoid * (x * (1.0 - sigmoid) + 1.0)


def _gelu_slope(x: Tensor) -> Tensor:
    gate = _gate(x)
    return gate * (x * (x * x * (3 * _CUBIC) + _LINEAR) * (1.0 - gate) + 1.0)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """`swiglu`."""
    return gate * torch.sigmoid(gate) * up


def swiglu_backward(dy: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """`swiglu_backward`."""
    return dy * up * _silu_slope(gate), dy * (gate * torch.sigmoid(gate))


def gelu_tanh(x: Tensor) -> Tensor:
    """`gelu_tanh`."""
    return x * _gate(x)


def gelu_tanh_backward(dy: Tensor, x: Tensor) -> Tensor:
    """`gelu_tanh_backward`."""
    return dy * _gelu_slope(x)


def geglu_tanh(gate: Tensor, up: Tensor) -> Tensor:
    """`geglu_tanh`."""
    return gelu_tanh(gate) * up


def geglu_tanh_backward(dy: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """`geglu_tanh_backward`."""
    return dy * up * _gelu_slope(gate), dy * gelu_tanh(gate)


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """`soft_cap`."""
    return torch.tanh(x / cap) * cap
