"""One matrix, or a range of its rows, to codes, fp16 scales and tiles; any scheme, ragged last groups included."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.q4 import ZERO_CODE, Q4Spec, pack
from pocketlora_export.quantize import int4, nf4


def _grouped(weight: Tensor, group_size: int) -> Tensor:
    """fp32 [rows, groups, group_size]; zeros behind the last column never change a group's absmax."""
    rows, cols = weight.shape
    groups = -(-cols // group_size)
    return functional.pad(weight, (0, groups * group_size - cols)).view(rows, groups, group_size)


def _to_fp16(scales: Tensor, name: str) -> Tensor:
    """Scales as stored: up to 2^-25 they become zero, and the group with them; beyond 65504 there is no fp16."""
    stored = scales.to(torch.float16)
    if not bool(torch.isfinite(stored).all()):
        raise PocketLoraError(
            Status.INPUT_UNSUPPORTED,
            f"{name}: a group needs a scale of {float(scales.max()):.6g}, but fp16 scales end at 65504",
        )
    return stored


def quantize(weight: Tensor, spec: Q4Spec, name: str = "weight") -> tuple[Tensor, Tensor]:
    """Quantize a matrix.

    Args:
        weight: fp32 [spec.rows, spec.cols], finite.
        spec: scheme and group size.
        name: for messages.

    Returns:
        codes uint8 [rows, cols] and scales fp16 [rows, ceil(cols / group)]. A group whose stored scale is zero holds
        the code of zero.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED when a scale exceeds the range of fp16.
    """
    groups = _grouped(weight, spec.group_size)
    if spec.scheme == "nf4":
        codes, absmax = nf4.quantize_groups(groups)
        scales = _to_fp16(absmax, name)
    else:
        flat = groups.view(-1, spec.group_size)
        scales = _to_fp16(int4.choose_scales(flat), name).view(groups.shape[:2])
        used = torch.where(scales == 0, torch.ones_like(scales), scales).float().view(-1)
        codes = int4.choose_codes(flat, used).view(groups.shape)
    empty = scales == 0
    if bool(empty.any()):
        codes[empty] = ZERO_CODE[spec.scheme]
    return codes.reshape(spec.rows, -1)[:, : spec.cols], scales


def quantize_packed(weight: Tensor, spec: Q4Spec, name: str = "weight") -> Tensor:
    """`quantize`, then the tiles of docs/layout.md: uint8 `spec.shape`."""
    codes, scales = quantize(weight, spec, name)
    return pack(codes, scales, spec)
