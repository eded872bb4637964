"""Symmetric groupwise int4 with torchao's primitives: codes are chosen for the scale as stored, in fp16."""

from __future__ import annotations

import torch
from torch import Tensor
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    quantize_affine,
)

QUANT_MIN, QUANT_MAX = -8, 7


def choose_scales(groups: Tensor) -> Tensor:
    """torchao's symmetric scale (absmax / 7.5) of fp32 groups [n, size]: fp32 [n]."""
    scale: Tensor
    scale, _ = choose_qparams_affine(
        groups,
        MappingType.SYMMETRIC,
        (1, groups.shape[-1]),
        torch.int8,
        QUANT_MIN,
        QUANT_MAX,
        scale_dtype=torch.float32,
    )
    return scale


def choose_codes(groups: Tensor, scales: Tensor) -> Tensor:
    """Codes 0..15 (value + 8) of fp32 groups [n, size] for fp32 scales [n] that are not zero: uint8 [n, size]."""
    zero_point = torch.zeros(scales.shape, dtype=torch.int32)
    values: Tensor = quantize_affine(
        groups,
        (1, groups.shape[-1]),
        scales,
        zero_point,
        torch.int8,
        QUANT_MIN,
        QUANT_MAX,
    )
    return (values + 8).to(torch.uint8)
