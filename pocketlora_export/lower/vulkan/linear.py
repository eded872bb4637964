"""Products with 4-bit matrices and adapters in ExecuTorch's Vulkan ops."""

from __future__ import annotations

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  (defines et_vk)
import torch
from torch import Tensor

from pocketlora_export.lower.vulkan.weights import PackedMatrix, PackedRows


def product(x: Tensor, w: PackedRows, bias: Tensor | None = None) -> Tensor:
    """x [N, k] -> x · Wᵀ + bias [N, n]."""
    y: Tensor = torch.ops.et_vk.linear_q4gsw(x, w.codes, w.scales, w.group, bias)
    return y


def product_backward(dy: Tensor, w: PackedRows) -> Tensor:
    """dy [N, n] -> dy · W [N, k]."""
    dx: Tensor = torch.ops.et_vk.linear_q4gsw_backward(dy, w.codes, w.scales, w.group)
    return dx


def chosen_rows(w: PackedRows, index: Tensor) -> Tensor:
    """i64 [N] -> rows of W, f32 [N, k]."""
    rows: Tensor = torch.ops.et_vk.embedding_q4gsw(w.codes, w.row_scales, w.group, index, True)
    return rows


def inside(index: Tensor, start: int, count: int) -> tuple[Tensor, Tensor]:
    """i64 [N] -> which row of a part that is, and f32 [N, 1]: 1 where it is one of them, else 0 (and some row)."""
    own = index - start
    within = torch.clamp(own + 1, 0, 1) * torch.clamp(count - own, 0, 1)
    return torch.clamp(own, 0, count - 1), within.to(torch.float32).view(-1, 1)


def times_transposed(x: Tensor, matrix: Tensor) -> Tensor:
    """x · matrixᵀ where the matrix is an input.

    A product of batches of one: the delegate turns `mm` with a transposed operand into `linear`, whose weight the
    runtime takes as a constant only ("Expected TensorRef, got TENSOR").
    """
    return torch.bmm(x.unsqueeze(0), matrix.t().unsqueeze(0)).view(x.shape[0], matrix.shape[0])


def linear(x: Tensor, w: PackedMatrix, bias: Tensor | None, *_: int) -> Tensor:
    """`linear4`."""
    if len(w.parts) == 1:
        return product(x, w.parts[0], bias)
    y = torch.cat([product(x, part) for part in w.parts], dim=1)
    return y if bias is None else y + bias


def linear_backward(dy: Tensor, w: PackedMatrix, *_: int) -> Tensor:
    """`linear4_backward`."""
    if len(w.parts) == 1:
        return product_backward(dy, w.parts[0])
    pieces = torch.split(dy, [part.rows for part in w.parts], dim=1)
    return sum((product_backward(piece, part) for piece, part in zip(pieces, w.parts, strict=True)), torch.zeros(()))


def lora(x: Tensor, w: PackedMatrix, bias: Tensor | None, a: Tensor, b: Tensor, scale: Tensor, *_: object) -> Tensor:
    """`lora_linear` without dropout."""
    return linear(x, w, bias) + times_transposed(times_transposed(x, a) * scale, b)


def lora_backward(
    dy: Tensor, x: Tensor, w: PackedMatrix, a: Tensor, b: Tensor, scale: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    """`lora_linear_backward` without dropout."""
    dt = torch.mm(dy, b) * scale
    dx = linear_backward(dy, w) + torch.mm(dt, a)
    low = times_transposed(x, a) * scale
    return dx, torch.ops.et_vk.linear_dW(dt, x), torch.ops.et_vk.linear_dW(dy, low)


def embedding(tokens: Tensor, w: PackedMatrix, *_: int) -> Tensor:
    """`embedding`."""
    if len(w.parts) == 1:
        return chosen_rows(w.parts[0], tokens)
    rows = torch.zeros(())
    for part, start in zip(w.parts, w.starts, strict=True):
        own, within = inside(tokens, start, part.rows)
        rows = rows + chosen_rows(part, own) * within
    return rows
