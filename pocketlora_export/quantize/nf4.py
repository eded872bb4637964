"""NF4 codes exactly as torchao's `to_nf4` chooses them. The one module that imports torchao's NF4.

torchao compares every value with all 16 levels (5 to 10 million weights a second on a core). The choice depends on the
scaled value alone and is monotone in it, so 15 thresholds describe it. They are found by bisection over the fp32 values
with torchao's own function: the result is equal by construction, rounding and ties included, and many times faster.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchao.quantization import NF4Tensor, to_nf4

BLOCK = 64
PIECE = 1 << 16


def torchao_levels() -> Tensor:
    """The 16 fp32 levels that torchao compares with (the NormalFloat-4 table rounded to four decimals)."""
    levels: Tensor = to_nf4(torch.ones(1, BLOCK), BLOCK, 1).nf4
    return levels


def torchao_nearest(values: Tensor) -> Tensor:
    """torchao's choice for fp32 values already divided by their block's absmax: int64, same shape."""
    chosen: Tensor = NF4Tensor.quantize_tensor_nearest(values, torchao_levels())
    return chosen


def torchao_codes(weight: Tensor) -> Tensor:
    """Codes of a fp32 [rows, cols] matrix by `to_nf4` itself; cols must be a multiple of 64.

    Returns:
        uint8 [rows, cols]. The slow reference that `codes` is tested against.
    """
    blocks = weight.numel() // BLOCK
    scaler_block = 256 if blocks % 256 == 0 else 1
    packed = to_nf4(weight.contiguous(), BLOCK, scaler_block).quantized_data
    # The first of two neighbours lies in the high nibble.
    return torch.stack((packed >> 4, packed & 15), dim=-1).reshape(weight.shape)


def _ordered(value: float) -> int:
    """Position of a fp32 value in the order of all fp32 values (-0 and +0 are neighbours)."""
    bits = int(struct.unpack("<i", struct.pack("<f", value))[0])
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF) - 1


def _from_ordered(index: int) -> float:
    bits = index if index >= 0 else (-index - 1) | 0x80000000
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def _last_true(low: int, high: int, predicate: Callable[[int], bool]) -> int:
    """The last index in [low, high) for which a predicate that goes from true to false holds."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if predicate(middle) else (low, middle)
    return low


@functools.lru_cache(maxsize=1)
def thresholds() -> Tensor:
    """fp32 [15]: `thresholds()[j]` is the largest fp32 value that torchao maps to a code of at most j."""

    def code(index: int) -> int:
        return int(torchao_nearest(torch.tensor([_from_ordered(index)]))[0])

    low, high = _ordered(-1.0), _ordered(1.0)
    edges = [_from_ordered(_last_true(low, high, lambda i, j=j: code(i) <= j)) for j in range(15)]  # type: ignore[misc]
    return torch.tensor(edges, dtype=torch.float32)


def nearest(values: Tensor) -> Tensor:
    """Equal to `torchao_nearest` for every fp32 value of [-1, 1] and for NaN; uint8, same shape.

    The code is the number of thresholds below the value: fifteen passes over a cache-sized piece beat a search.
    """
    source = values.contiguous().view(-1).numpy()
    codes = np.zeros(source.size, np.uint8)
    above = np.empty(PIECE, np.bool_)
    edges = thresholds().numpy()
    for start in range(0, source.size, PIECE):
        piece, out = source[start : start + PIECE], codes[start : start + PIECE]
        mask = above[: piece.size]
        for edge in edges:
            np.greater(piece, edge, out=mask)
            np.add(out, mask.view(np.uint8), out=out)
    return torch.from_numpy(codes).view(values.shape)


def quantize_groups(groups: Tensor) -> tuple[Tensor, Tensor]:
    """NF4 of whole groups.

    Args:
        groups: fp32 [..., 64], finite.

    Returns:
        codes uint8 [..., 64] and absmax fp32 [...]. An all-zero group has code 0 as in torchao: the caller replaces it.
    """
    absmax = groups.abs().amax(dim=-1)
    return nearest(groups / absmax.unsqueeze(-1)), absmax
