"""How rows of the KV cache are stored (docs/stages.md, "The KV cache")."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

CacheFormat = Literal["float32", "float16", "int8"]
CACHE_FORMATS: tuple[CacheFormat, ...] = ("float32", "float16", "int8")
_LARGEST_HALF = 65504.0


def head_bytes(cache_format: CacheFormat, head_dim: int) -> int:
    """Bytes of one head of a row."""
    return {"float32": 4 * head_dim, "float16": 2 * head_dim, "int8": head_dim + 4}[cache_format]


def format_of(row_bytes: int, width: int, head_dim: int) -> CacheFormat:
    """The format of rows of `width` values; the first of `CACHE_FORMATS` whose size it is."""
    heads = width // head_dim
    for cache_format in CACHE_FORMATS:
        if row_bytes == heads * head_bytes(cache_format, head_dim):
            return cache_format
    raise ValueError(f"no format of the KV cache stores {width} values in {row_bytes} bytes")


def store_rows(rows: Tensor, head_dim: int, cache_format: CacheFormat) -> Tensor:
    """Floats [N, heads * D] -> uint8 [N, heads * head_bytes]."""
    if cache_format == "float32":
        return rows.float().contiguous().view(torch.uint8)
    if cache_format == "float16":
        return rows.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).half().view(torch.uint8)
    heads = rows.float().reshape(rows.shape[0], -1, head_dim)
    scale = heads.abs().amax(-1, keepdim=True) / 127
    codes = torch.where(scale > 0, heads / scale, 0.0).round().clamp(-127, 127).to(torch.int8)
    stored = torch.cat((scale.contiguous().view(torch.uint8), codes.view(torch.uint8)), dim=-1)
    return stored.reshape(rows.shape[0], -1)


def load_rows(stored: Tensor, head_dim: int, like: Tensor) -> Tensor:
    """uint8 [N, heads * head_bytes] -> the values, of the width and dtype of `like` [*, heads * D]."""
    width = like.shape[1]
    cache_format = format_of(stored.shape[1], width, head_dim)
    stored = stored.contiguous()
    if cache_format == "float32":
        values = stored.view(torch.float32)
    elif cache_format == "float16":
        values = stored.view(torch.float16)
    else:
        heads = stored.reshape(stored.shape[0], -1, head_dim + 4)
        scale = heads[..., :4].contiguous().view(torch.float32)
        values = scale * heads[..., 4:].contiguous().view(torch.int8).float()
    return values.reshape(stored.shape[0], width).to(like.dtype)
