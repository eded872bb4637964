"""Attention from products of batches: queries of one key-value head are rows of one matrix, so nothing is repeated.

Masks are added: 0 where a row sees a key, a large negative number elsewhere. They come from whole numbers in floating
point with sums and clamps, since not every device takes bool tensors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp(-3e4) is 0 in fp32 and fp16, and 3e4 is a number in both.
_HIDDEN = -3e4


def _above(x: Tensor) -> Tensor:
    """1 where a whole number is positive, else 0."""
    return torch.clamp(x, 0.0, 1.0)


def _index(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.int64).to(torch.float32)


def _causal(row: Tensor, key: Tensor, window: int) -> Tensor:
    """1 where a row does not see a key: [rows, 1] and [1, keys] -> [rows, keys], negative or more than 1 never."""
    later = _above(key - row)
    return later + _above(row - key - (window - 1)) if window else later


def _packed_mask(segments: Tensor, rows: int, window: int) -> Tensor:
    """[N, N] from the offsets of segments; those that are not used are N."""
    index = _index(rows)
    begun = _above(index.view(rows, 1) - segments.to(torch.float32).view(1, -1)[:, 1:] + 1.0)
    owner = begun.sum(-1, keepdim=True)
    other = torch.clamp(torch.abs(owner - owner.view(1, rows)), 0.0, 1.0)
    return (other + _causal(index.view(rows, 1), index.view(1, rows), window)) * _HIDDEN


def _cached_mask(past: Tensor, rows: int, capacity: int, window: int) -> Tensor:
    """[N, C + N]: the rows of the cache, of which `past` are used, then the new ones."""
    seen, row, new = past.to(torch.float32).view(1, 1), _index(rows).view(rows, 1), _index(rows).view(1, rows)
    old = _index(capacity).view(1, capacity)
    hidden = _above(old - seen + 1.0) + torch.zeros(rows, 1)
    if window:
        hidden = hidden + _above(row + seen - old - (window - 1))
    return torch.cat((hidden, _causal(row, new, window)), dim=1) * _HIDDEN


def _grouped(x: Tensor, groups: int, head_dim: int) -> Tensor:
    """[N, heads * D] -> [groups, heads / groups * N, D]."""
    rows = x.shape[0]
    return x.view(rows, -1, head_dim).permute(1, 0, 2).reshape(groups, -1, head_dim)


def _rows(x: Tensor, rows: int) -> Tensor:
    """The inverse of `_grouped`."""
    return x.reshape(-1, rows, x.shape[-1]).permute(1, 0, 2).reshape(rows, -1)


def _scores(q: Tensor, k: Tensor, scale: float, softcap: float) -> Tensor:
    """[Hkv, r * N, D], [Hkv, keys, D] -> [Hkv, r * N, keys], without a mask."""
    scores = torch.bmm(q, k.permute(0, 2, 1)) * scale
    return torch.tanh(scores / softcap) * softcap if softcap else scores


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """[Hkv, r * N, keys] -> [Hq, N, keys]."""
    return scores.reshape(-1, *mask.shape) + mask.unsqueeze(0)


def forward(
    q: Tensor, k: Tensor, v: Tensor, segments: Tensor, head_dim: int, scale: float, window: int, softcap: float
) -> tuple[Tensor, Tensor]:
    """`attention`."""
    rows, groups = q.shape[0], k.shape[1] // head_dim
    keys, values = (_grouped(x, groups, head_dim) for x in (k, v))
    scores = _scores(_grouped(q, groups, head_dim), keys, scale, softcap)
    masked = _masked(scores, _packed_mask(segments, rows, window))
    out = torch.bmm(torch.softmax(masked, -1).reshape(groups, -1, rows), values)
    return _rows(out, rows), _lse(masked)


def _lse(masked: Tensor) -> Tensor:
    """[Hq, N, keys] -> [N, Hq]. Nobody reads it where the backward computes the probabilities again."""
    largest = masked.amax(-1, keepdim=True)
    total = torch.exp(masked - largest).sum(-1, keepdim=True)
    return (largest + torch.log10(total) * math.log(10.0)).view(masked.shape[0], -1).t()


def backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, segments: Tensor,
    head_dim: int, scale: float, window: int, softcap: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`attention_backward`; what it repeats of the forward is computed once in the lowered stage (`to_vulkan`)."""
    del lse
    rows, groups = q.shape[0], k.shape[1] // head_dim
    queries, keys, values, grad = (_grouped(x, groups, head_dim) for x in (q, k, v, dout))
    scores = _scores(queries, keys, scale, softcap)
    probs = torch.softmax(_masked(scores, _packed_mask(segments, rows, window)), -1).reshape(groups, -1, rows)
    delta = (grad * _grouped(out, groups, head_dim)).sum(-1, keepdim=True)
    dscores = probs * (torch.bmm(grad, values.permute(0, 2, 1)) - delta) * scale
    if softcap:
        share = scores / softcap
        dscores = dscores * (1.0 - share * share)
    dq = torch.bmm(dscores, keys)
    dk = torch.bmm(dscores.permute(0, 2, 1), queries)
    dv = torch.bmm(probs.permute(0, 2, 1), grad)
    return _rows(dq, rows), _rows(dk, rows), _rows(dv, rows)


def cached(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, past: Tensor,
    head_dim: int, scale: float, window: int, softcap: float,
) -> Tensor:  # fmt: skip
    """`attention_cached` over a cache of floats [C, Hkv * D]."""
    rows, groups = q.shape[0], k.shape[1] // head_dim
    keys, values = (_grouped(torch.cat(pair), groups, head_dim) for pair in ((k_cache, k), (v_cache, v)))
    scores = _scores(_grouped(q, groups, head_dim), keys, scale, softcap)
    masked = _masked(scores, _cached_mask(past, rows, k_cache.shape[0], window))
    return _rows(torch.bmm(torch.softmax(masked, -1).reshape(groups, -1, masked.shape[-1]), values), rows)
