"""The 4-bit layout (docs/layout.md): tiles of 16 rows x 128 columns, codes then fp16 scales.

The only place in Python that knows the bytes. Pure packing: no search for codes, no model. PyTorch is imported where it
computes, so that recipes can be read and checked without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scheme = Literal["nf4", "int4"]
SCHEME_IDS: dict[str, int] = {"nf4": 0, "int4": 1}
SCHEME_NAMES: dict[int, Scheme] = {0: "nf4", 1: "int4"}
GROUP_SIZES: dict[str, tuple[int, ...]] = {"nf4": (64,), "int4": (32, 64, 128)}

TILE_ROWS = 16
TILE_COLS = 128
CODE_BYTES = TILE_ROWS * TILE_COLS // 2

# NormalFloat-4, QLoRA (arXiv 2305.14314), appendix E.
NF4_CODEBOOK: tuple[float, ...] = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
INT4_CODEBOOK: tuple[float, ...] = tuple(float(v) for v in range(-8, 8))
ZERO_CODE: dict[str, int] = {"nf4": 7, "int4": 8}


def codebook(scheme: Scheme) -> Tensor:
    """The 16 fp32 values of a scheme."""
    import torch

    return torch.tensor(NF4_CODEBOOK if scheme == "nf4" else INT4_CODEBOOK, dtype=torch.float32)


def tile_bytes(group_size: int) -> int:
    """Bytes of one tile: 1024 of codes, then the scales padded to a multiple of 64."""
    scales = 2 * TILE_ROWS * (TILE_COLS // group_size)
    return CODE_BYTES + -(-scales // 64) * 64


def packed_shape(rows: int, cols: int, group_size: int) -> tuple[int, int, int]:
    """Shape of the stored uint8 tensor of a [rows, cols] matrix."""
    return -(-rows // TILE_ROWS), -(-cols // TILE_COLS), tile_bytes(group_size)


@dataclass(frozen=True)
class Q4Spec:
    """A quantized matrix without its bytes."""

    rows: int
    cols: int
    scheme: Scheme
    group_size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the stored uint8 tensor."""
        return packed_shape(self.rows, self.cols, self.group_size)

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        nt, kt, tile = self.shape
        return nt * kt * tile


def pack(codes: Tensor, scales: Tensor, spec: Q4Spec) -> Tensor:
    """Put codes and scales into tiles.

    Args:
        codes: uint8 [rows, cols], values 0..15.
        scales: float16 [rows, ceil(cols / group_size)].
        spec: the matrix's description.

    Returns:
        uint8 `spec.shape`, contiguous.
    """
    import torch

    nt, kt, nbytes = spec.shape
    groups = TILE_COLS // spec.group_size
    full = torch.full((nt * TILE_ROWS, kt * TILE_COLS), ZERO_CODE[spec.scheme], dtype=torch.uint8)
    full[: spec.rows, : spec.cols] = codes
    # [nt, pair, low/high, kt, half, 64] -> [nt, kt, half, pair, 64, low/high]
    split = full.view(nt, 8, 2, kt, 2, 64).permute(0, 3, 4, 1, 5, 2)
    lines = split[..., 0] | (split[..., 1] << 4)
    full_scales = torch.zeros(nt * TILE_ROWS, kt * groups, dtype=torch.float16)
    full_scales[: spec.rows, : scales.shape[1]] = scales
    grouped = full_scales.view(nt, TILE_ROWS, kt, groups).permute(0, 2, 3, 1).contiguous()
    out = torch.zeros(nt, kt, nbytes, dtype=torch.uint8)
    out[:, :, :CODE_BYTES] = lines.reshape(nt, kt, CODE_BYTES)
    scale_bytes = grouped.view(torch.uint8).reshape(nt, kt, -1)
    out[:, :, CODE_BYTES : CODE_BYTES + scale_bytes.shape[2]] = scale_bytes
    return out


def unpack(tiles: Tensor, spec: Q4Spec) -> tuple[Tensor, Tensor]:
    """The inverse of `pack`: (codes uint8 [rows, cols], scales float16 [rows, ceil(cols / group_size)])."""
    import torch

    nt, kt, _ = spec.shape
    groups = TILE_COLS // spec.group_size
    lines = tiles[:, :, :CODE_BYTES].reshape(nt, kt, 2, 8, 64)
    both = torch.stack((lines & 15, lines >> 4), dim=-1)
    codes = both.permute(0, 3, 5, 1, 2, 4).reshape(nt * TILE_ROWS, kt * TILE_COLS)
    raw = tiles[:, :, CODE_BYTES : CODE_BYTES + 2 * TILE_ROWS * groups].contiguous()
    scales = raw.view(torch.float16).view(nt, kt, groups, TILE_ROWS)
    scales = scales.permute(0, 3, 1, 2).reshape(nt * TILE_ROWS, kt * groups)
    real_groups = -(-spec.cols // spec.group_size)
    return codes[: spec.rows, : spec.cols], scales[: spec.rows, :real_groups]


def dequantize(tiles: Tensor, spec: Q4Spec) -> Tensor:
    """The quantized value by definition: codebook[code] * float(scale), fp32 [rows, cols]."""
    codes, scales = unpack(tiles, spec)
    per_column = scales.float().repeat_interleave(spec.group_size, dim=1)[:, : spec.cols]
    return codebook(spec.scheme)[codes.long()] * per_column
