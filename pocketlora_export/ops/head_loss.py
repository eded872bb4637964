"""LM head fused with cross-entropy, chunked over the vocabulary: logits [N, V] never exist."""

from __future__ import annotations

import torch
from torch import Tensor

from pocketlora_export.ops.library import define
from pocketlora_export.ops.linear import Q4_ARGS, dense

IGNORE = -100
_CHUNK = 4096


def _capped(logits: Tensor, softcap: float) -> tuple[Tensor, Tensor]:
    """Logits under a soft cap (0 = none), and their slope in those before it."""
    if softcap == 0:
        return logits, torch.ones_like(logits)
    bounded = torch.tanh(logits / softcap)
    return softcap * bounded, 1 - bounded.square()


def _reference(
    h: Tensor,
    w: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    n: int,
    k: int,
    quant: int,
    group: int,
    softcap: float,
) -> tuple[Tensor, Tensor, Tensor]:
    matrix = dense(w, (n, k, quant, group), h.dtype)
    maximum = h.new_full((h.shape[0], 1), float("-inf"))
    total = torch.zeros_like(maximum)
    expected = torch.zeros_like(h)
    for start in range(0, matrix.shape[0], _CHUNK):
        rows = matrix[start : start + _CHUNK]
        logits = torch.nn.functional.linear(h, rows, None if bias is None else bias[start : start + _CHUNK])
        logits, slope = _capped(logits, softcap)
        new_maximum = torch.maximum(maximum, logits.amax(1, keepdim=True))
        shrink, probs = torch.exp(maximum - new_maximum), torch.exp(logits - new_maximum)
        total = total * shrink + probs.sum(1, keepdim=True)
        expected = expected * shrink + (probs * slope) @ rows
        maximum = new_maximum
    used = labels != IGNORE
    target = labels.clamp(min=0)
    label_logit, slope = _capped((h * matrix[target]).sum(1) + (0 if bias is None else bias[target]), softcap)
    logprobs = torch.where(used, label_logit - maximum[:, 0] - total[:, 0].log(), 0)
    factor = torch.where(used, weights, 0)
    loss = -(factor.double() * logprobs.double()).sum().to(h.dtype).reshape(1)
    return logprobs, loss, factor[:, None] * (expected / total - slope[:, None] * matrix[target])


head_loss = define(
    "head_loss",
    f"Tensor h, Tensor w, Tensor? bias, Tensor labels, Tensor weights, {Q4_ARGS}, float softcap",
    returns=3,
    reference=_reference,
    fake=lambda h, w, bias, labels, weights, *rest: (
        torch.empty_like(weights),
        h.new_empty(1),
        torch.empty_like(h),
    ),
)
