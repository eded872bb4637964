"""Codes are torchao's own, on whole tensors and on every kind of value that could part the two searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pocketlora_export.q4 import NF4_CODEBOOK, Q4Spec, dequantize
from pocketlora_export.quantize import nf4
from pocketlora_export.quantize.matrix import quantize, quantize_packed


def _codes(weight: torch.Tensor) -> torch.Tensor:
    rows, cols = weight.shape
    return nf4.quantize_groups(weight.view(rows, cols // 64, 64))[0].view(rows, cols)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 64), (300, 192), (96, 1536)])
def test_whole_tensors(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(shape[0])
    weight = (torch.randn(shape) * torch.logspace(-6, 3, shape[0])[:, None]).to(dtype).float()
    assert torch.equal(_codes(weight), nf4.torchao_codes(weight))


def test_around_every_threshold_and_midpoint() -> None:
    levels = nf4.torchao_levels()
    midpoints = (levels[1:] + levels[:-1]) / 2
    centres = torch.cat((nf4.thresholds(), midpoints, levels)).numpy()
    steps = [centres]
    for direction in (np.float32(-np.inf), np.float32(np.inf)):
        value = centres
        for _ in range(40):
            value = np.nextafter(value, direction)
            steps.append(value)
    values = torch.from_numpy(np.concatenate(steps)).clamp(-1, 1)
    assert torch.equal(nf4.nearest(values).long(), nf4.torchao_nearest(values))


def test_thresholds_are_the_last_value_of_their_code() -> None:
    edges = nf4.thresholds()
    above = torch.from_numpy(np.nextafter(edges.numpy(), np.float32(np.inf)))
    assert nf4.torchao_nearest(edges).tolist() == list(range(15))
    assert nf4.torchao_nearest(above).tolist() == list(range(1, 16))


def test_special_values() -> None:
    tiny = torch.finfo(torch.float32).tiny
    values = torch.tensor([0.0, -0.0, tiny, -tiny, tiny / 2**20, -tiny / 2**20, 1.0, -1.0, math.nan])
    assert torch.equal(nf4.nearest(values).long(), nf4.torchao_nearest(values))


def test_all_zero_denormal_and_one_sided_blocks() -> None:
    weight = torch.zeros(8, 64)
    weight[1] = -0.0
    weight[2] = torch.full((64,), torch.finfo(torch.float32).tiny / 2**10)
    weight[3, 5] = -3.0
    weight[4] = torch.linspace(0, 1e-40, 64)
    weight[5] = torch.linspace(-3e38, 3e38, 64)
    assert torch.equal(_codes(weight), nf4.torchao_codes(weight))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        (4, 64),
        elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True),
    )
)
def test_any_finite_block(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    assert torch.equal(_codes(weight), nf4.torchao_codes(weight))


def test_a_group_without_scale_holds_the_code_of_zero() -> None:
    weight = torch.zeros(2, 64)
    weight[1] = 2.0**-26  # rounds to a zero fp16 scale
    codes, scales = quantize(weight, Q4Spec(2, 64, "nf4", 64))
    assert codes.unique().tolist() == [7]
    assert scales.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("cols", [1, 63, 65, 100, 190])
def test_the_last_group_is_quantized_over_its_real_elements(cols: int) -> None:
    torch.manual_seed(cols)
    weight = torch.randn(5, cols)
    codes, scales = quantize(weight, Q4Spec(5, cols, "nf4", 64))
    for row in range(5):
        for group in range(-(-cols // 64)):
            part = weight[row, group * 64 : (group + 1) * 64]
            padded = torch.zeros(1, 64)
            padded[0, : len(part)] = part
            expected = nf4.torchao_codes(padded)[0, : len(part)]
            assert torch.equal(codes[row, group * 64 : (group + 1) * 64], expected)
            assert float(scales[row, group]) == float(part.abs().max().half())


def test_error_of_normal_weights() -> None:
    """NormalFloat is made for normal weights: the RMS error of a standard normal in blocks of 64 is near 0.095."""
    torch.manual_seed(0)
    weight = torch.randn(512, 1024)
    spec = Q4Spec(512, 1024, "nf4", 64)
    error = dequantize(quantize_packed(weight, spec), spec) - weight
    assert 0.08 < float(error.pow(2).mean().sqrt()) < 0.11
    # Nearest level: no error exceeds half the widest gap of the code, in units of its block's absmax, plus the fp16
    # rounding of the scale (2^-11) and the four decimals of torchao's table (5e-5, twice).
    levels = torch.tensor(NF4_CODEBOOK)
    widest = float((levels[1:] - levels[:-1]).max()) / 2
    absmax = weight.view(512, 16, 64).abs().amax(-1, keepdim=True)
    assert float((error.view(512, 16, 64).abs() / absmax).max()) <= widest + 2**-11 + 1e-4
