"""LM head with cross-entropy, part by part of the vocabulary: no buffer of logits is beyond the device's limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from pocketlora_export.lower.vulkan.linear import chosen_rows, inside, product, product_backward
from pocketlora_export.lower.vulkan.weights import PackedMatrix, PackedRows


@dataclass(frozen=True)
class _Part:
    """Sums over a part of the vocabulary.

    `largest` [N, 1] logit; `total` [N, 1] = Σ p and `expected` [N, k] = Σ p · slope · row of W with p = exp(logit -
    largest); `chosen` [N, 1] and `row` [N, k]: the label's logit, and its slope times its row of W, both 0 where the
    label is in another part.
    """

    largest: Tensor
    total: Tensor
    expected: Tensor
    chosen: Tensor
    row: Tensor


def _logits(h: Tensor, w: PackedRows, bias: Tensor | None, softcap: float) -> tuple[Tensor, Tensor | None]:
    """Logits [N, n], and their slope in those before the soft cap."""
    logits = product(h, w, bias)
    if not softcap:
        return logits, None
    bounded = torch.tanh(logits / softcap)
    return bounded * softcap, 1.0 - bounded * bounded


def _part(h: Tensor, w: PackedRows, bias: Tensor | None, index: Tensor, start: int, softcap: float) -> _Part:
    own, within = inside(index, start, w.rows)
    logits, slope = _logits(h, w, bias, softcap)
    largest = logits.amax(-1, keepdim=True)
    probs = torch.exp(logits - largest)
    column, row = own.view(-1, 1), chosen_rows(w, own)
    row = row if slope is None else row * torch.gather(slope, 1, column)
    expected = product_backward(probs if slope is None else probs * slope, w)
    total, chosen = probs.sum(-1, keepdim=True), torch.gather(logits, 1, column)
    return _Part(largest, total, expected, chosen * within, row * within)


def _together(a: _Part, b: _Part) -> _Part:
    largest = a.largest + relu(b.largest - a.largest)
    x, y = torch.exp(a.largest - largest), torch.exp(b.largest - largest)
    total, expected = a.total * x + b.total * y, a.expected * x + b.expected * y
    return _Part(largest, total, expected, a.chosen + b.chosen, a.row + b.row)


def head_loss(
    h: Tensor, w: PackedMatrix, bias: Tensor | None, labels: Tensor, weights: Tensor,
    n: int, k: int, quant: int, group: int, softcap: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`head_loss`."""
    del k, quant, group
    index = torch.clamp(labels, 0, n - 1)
    biases = [bias] if bias is None or len(w.parts) == 1 else torch.split(bias, [part.rows for part in w.parts])
    whole = None
    for number, (part, start) in enumerate(zip(w.parts, w.starts, strict=True)):
        found = _part(h, part, biases[number % len(biases)], index, start, softcap)
        whole = found if whole is None else _together(whole, found)
    assert whole is not None
    used = torch.clamp(labels + 1, 0, 1).to(torch.float32).view(-1, 1)
    logprobs = (whole.chosen - whole.largest - torch.log10(whole.total) * math.log(10.0)) * used
    factor = weights.view(-1, 1) * used
    loss = (factor * logprobs).view(1, -1).sum(-1, keepdim=True) * -1.0
    return logprobs.view(-1), loss.view(1), factor * (whole.expected / whole.total - whole.row)
