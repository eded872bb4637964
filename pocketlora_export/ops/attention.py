"""Causal grouped-query attention over packed segments (training) and over a KV cache (inference)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.kv_cache import format_of, load_rows, store_rows
from pocketlora_export.ops.library import autograd, define


def _heads(x: Tensor, head_dim: int, repeat: int = 1) -> Tensor:
    """[N, heads * D] -> [heads * repeat, N, D]."""
    return x.view(x.shape[0], -1, head_dim).transpose(0, 1).repeat_interleave(repeat, dim=0)


def _rows(x: Tensor) -> Tensor:
    """[heads, N, D] -> [N, heads * D]."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _sees(row: Tensor, key: Tensor, window: int) -> Tensor:
    """Bool of the broadcast shape: key <= row, and among the last `window` of them (0 = all)."""
    visible = key <= row
    return visible & (key > row - window) if window else visible


def _segment_mask(segments: Tensor, rows: int, window: int) -> Tensor:
    """[N, N] bool: row i may see column j (same segment, and as `_sees`)."""
    index = torch.arange(rows)
    owner = torch.bucketize(index, segments[1:], right=True)
    return (owner[:, None] == owner[None, :]) & _sees(index[:, None], index[None, :], window)


def _scores(q: Tensor, k: Tensor, head_dim: int, scale: float, softcap: float) -> Tensor:
    """[heads, N, keys], scaled and capped, without a mask."""
    repeat = q.shape[1] // k.shape[1]
    scores = _heads(q, head_dim) @ _heads(k, head_dim, repeat).transpose(1, 2) * scale
    return softcap * torch.tanh(scores / softcap) if softcap else scores


def _forward(
    q: Tensor, k: Tensor, v: Tensor, segments: Tensor, head_dim: int, scale: float, window: int, softcap: float
) -> tuple[Tensor, Tensor]:
    hidden = ~_segment_mask(segments, q.shape[0], window)
    scores = _scores(q, k, head_dim, scale, softcap).masked_fill(hidden, float("-inf"))
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
    window: int,
    softcap: float,
) -> tuple[Tensor, Tensor, Tensor]:
    repeat = q.shape[1] // k.shape[1]
    scores = _scores(q, k, head_dim, scale, softcap)
    hidden = ~_segment_mask(segments, q.shape[0], window)
    probs = torch.exp(scores - lse.transpose(0, 1)[..., None]).masked_fill(hidden, 0)
    dout_h = _heads(dout, head_dim)
    delta = (dout_h * _heads(out, head_dim)).sum(-1, keepdim=True)
    dscores = probs * (dout_h @ _heads(v, head_dim, repeat).transpose(1, 2) - delta) * scale
    if softcap:
        dscores = dscores * (1 - (scores / softcap).square())
    rows_dim = (q.shape[0], head_dim)
    dq = dscores @ _heads(k, head_dim, repeat)
    dk = (dscores.transpose(1, 2) @ _heads(q, head_dim)).view(-1, repeat, *rows_dim).sum(1)
    dv = (probs.transpose(1, 2) @ dout_h).view(-1, repeat, *rows_dim).sum(1)
    return _rows(dq), _rows(dk), _rows(dv)


def _cached(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    past: Tensor,
    head_dim: int,
    scale: float,
    window: int,
    softcap: float,
) -> Tensor:
    rows, seen = q.shape[0], int(past.item())
    keys, values = (_all_rows(cache[:seen], new, head_dim) for cache, new in ((k_cache, k), (v_cache, v)))
    scores = _scores(q, keys, head_dim, scale, softcap)
    visible = _sees(torch.arange(rows)[:, None] + seen, torch.arange(seen + rows)[None, :], window)
    probs = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return _rows(probs @ _heads(values, head_dim, q.shape[1] // k.shape[1]))


def _all_rows(cache: Tensor, new: Tensor, head_dim: int) -> Tensor:
    """The values of the stored rows, then the new ones as the cache's format stores them."""
    cache_format = format_of(cache.shape[1], new.shape[1], head_dim)
    stored = new if cache_format == "float32" else load_rows(store_rows(new, head_dim, cache_format), head_dim, new)
    return torch.cat((load_rows(cache, head_dim, new), stored))


attention = define(
    "attention",
    "Tensor q, Tensor k, Tensor v, Tensor segments, int head_dim, float scale, int window, float softcap",
    returns=2,
    reference=_forward,
    fake=lambda q, k, v, *rest: (
        torch.empty_like(q),
        q.new_empty(q.shape[0], q.shape[1] // rest[1]),
    ),
)
attention_backward = define(
    "attention_backward",
    "Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor segments, int head_dim, float scale, "
    "int window, float softcap",
    returns=3,
    reference=_backward,
    fake=lambda dout, q, k, v, *rest: (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)),
)
attention_cached = define(
    "attention_cached",
    "Tensor q, Tensor k, Tensor v, Tensor k_cache, Tensor v_cache, Tensor past, int head_dim, float scale, int window, "
    "float softcap",
    returns=1,
    reference=_cached,
    fake=lambda q, *rest: torch.empty_like(q),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, segments, *ctx.shape = inputs
    ctx.save_for_backward(q, k, v, *output, segments)


def _formula(ctx: Any, dout: Tensor, _dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, segments = ctx.saved_tensors
    grads = attention_backward(dout, q, k, v, out, lse, segments, *ctx.shape)
    return (*grads, *[None] * 5)


autograd("attention", _formula, _setup)
