"""int4 through torchao's primitives: the codes fit the scale as stored."""

from __future__ import annotations

import pytest
import torch

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.q4 import Q4Spec, dequantize
from pocketlora_export.quantize.matrix import quantize, quantize_packed


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("cols", [128, 200, 33])
def test_scale_and_codes(group: int, cols: int) -> None:
    torch.manual_seed(group + cols)
    weight = torch.randn(24, cols)
    codes, scales = quantize(weight, Q4Spec(24, cols, "int4", group))
    assert codes.dtype == torch.uint8
    assert scales.shape == (24, -(-cols // group))
    for g in range(scales.shape[1]):
        part = weight[:, g * group : (g + 1) * group]
        assert torch.equal(scales[:, g], (part.abs().amax(1) / 7.5).half())
        inverse = 1.0 / scales[:, g, None].float()
        expected = torch.round(part * inverse).clamp(-8, 7) + 8
        assert torch.equal(codes[:, g * group : (g + 1) * group].float(), expected)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_error_is_half_a_step(group: int) -> None:
    torch.manual_seed(group)
    weight = torch.randn(64, 512)
    spec = Q4Spec(64, 512, "int4", group)
    _, scales = quantize(weight, spec)
    step = scales.float().repeat_interleave(group, 1)
    error = (dequantize(quantize_packed(weight, spec), spec) - weight).abs()
    # Half a step of rounding; positive extremes sit at 7.5 steps and are cut to 7; the fp16 scale moves those by 2^-11.
    assert bool((error <= step * (0.5 + 7.5 * 2**-11 + 1e-5)).all())


def test_zero_groups() -> None:
    weight = torch.zeros(2, 64)
    weight[1, :32] = 1e-9
    codes, scales = quantize(weight, Q4Spec(2, 64, "int4", 32))
    assert codes.unique().tolist() == [8]
    assert float(scales.abs().max()) == 0.0


@pytest.mark.parametrize(("scheme", "group"), [("nf4", 64), ("int4", 32)])
def test_a_scale_beyond_fp16_is_an_error(scheme: str, group: int) -> None:
    weight = torch.full((1, 64), 1e6)
    with pytest.raises(PocketLoraError, match=r"layer\.weight.*65504") as caught:
        quantize(weight, Q4Spec(1, 64, scheme, group), "layer.weight")  # type: ignore[arg-type]
    assert caught.value.status is Status.INPUT_UNSUPPORTED
