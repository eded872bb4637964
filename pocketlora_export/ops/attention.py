"""Causal grouped-query attention over packed segments (training) and over a KV cache (inference)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.library import autograd, define


def _heads(x: Tensor, head_dim: int, repeat: int = 1) -> Tensor:
    """[N, heads * D] -> [heads * repeat, N, D]."""
    return x.view(x.shape[0], -1, head_dim).transpose(0, 1).repeat_interleave(repeat, dim=0)


def _rows(x: Tensor) -> Tensor:
    """[heads, N, D] -> [N, heads * D]."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _segment_mask(segments: Tensor, rows: int) -> Tensor:
    """[N, N] bool: row i may see column j (same segment, j <= i)."""
    index = torch.arange(rows)
    owner = torch.bucketize(index, segments[1:], right=True)
    return (owner[:, None] == owner[None, :]) & (index[None, :] <= index[:, None])


def _scores(q: Tensor, k: Tensor, segments: Tensor, head_dim: int, scale: float) -> Tensor:
    repeat = q.shape[1] // k.shape[1]
    scores = _heads(q, head_dim) @ _heads(k, head_dim, repeat).transpose(1, 2) * scale
    return scores.masked_fill(~_segment_mask(segments, q.shape[0]), float("-inf"))


def _forward(q: Tensor, k: Tensor, v: Tensor, segments: Tensor, head_dim: int, scale: float) -> tuple[Tensor, Tensor]:
    scores = _scores(q, k, segments, head_dim, scale)
    lse = torch.logsumexp(scores, dim=-1)
    probs = torch.exp(scores - lse[..., None])
    values = _heads(v, head_dim, q.shape[1] // k.shape[1])
    return _rows(probs @ values), lse.transpose(0, 1).contiguous()


def _backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    segments: Tensor,
    head_dim: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    repeat = q.shape[1] // k.shape[1]
    probs = torch.exp(_scores(q, k, segments, head_dim, scale) - lse.transpose(0, 1)[..., None])
    dout_h = _heads(dout, head_dim)
    delta = (dout_h * _heads(out, head_dim)).sum(-1, keepdim=True)
    dscores = probs * (dout_h @ _heads(v, head_dim, repeat).transpose(1, 2) - delta) * scale
    rows_dim = (q.shape[0], head_dim)
    dq = dscores @ _heads(k, head_dim, repeat)
    dk = (dscores.transpose(1, 2) @ _heads(q, head_dim)).view(-1, repeat, *rows_dim).sum(1)
    dv = (probs.transpose(1, 2) @ dout_h).view(-1, repeat, *rows_dim).sum(1)
    return _rows(dq), _rows(dk), _rows(dv)


def _cached(
    q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, past: Tensor, head_dim: int, scale: float
) -> Tensor:
    rows, seen = q.shape[0], int(past.item())
    keys, values = torch.cat((k_cache[:seen], k)), torch.cat((v_cache[:seen], v))
    repeat = q.shape[1] // k.shape[1]
    scores = _heads(q, head_dim) @ _heads(keys, head_dim, repeat).transpose(1, 2) * scale
    visible = torch.arange(seen + rows)[None, :] <= torch.arange(rows)[:, None] + seen
    probs = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return _rows(probs @ _heads(values, head_dim, repeat))


attention = define(
    "attention",
    "Tensor q, Tensor k, Tensor v, Tensor segments, int head_dim, float scale",
    returns=2,
    reference=_forward,
    fake=lambda q, k, v, segments, head_dim, scale: (
        torch.empty_like(q),
        q.new_empty(q.shape[0], q.shape[1] // head_dim),
    ),
)
attention_backward = define(
    "attention_backward",
    "Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor segments, int head_dim, float scale",
    returns=3,
    reference=_backward,
    fake=lambda dout, q, k, v, *rest: (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)),
)
attention_cached = define(
    "attention_cached",
    "Tensor q, Tensor k, Tensor v, Tensor k_cache, Tensor v_cache, Tensor past, int head_dim, float scale",
    returns=1,
    reference=_cached,
    fake=lambda q, *rest: torch.empty_like(q),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, segments, ctx.head_dim, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, *output, segments)


def _formula(ctx: Any, dout: Tensor, _dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, segments = ctx.saved_tensors
    grads = attention_backward(dout, q, k, v, out, lse, segments, ctx.head_dim, ctx.scale)
    return (*grads, None, None, None)


autograd("attention", _formula, _setup)
