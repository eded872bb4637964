"""What XNNPACK gets in the place of our ops is what the ops' references compute."""

from __future__ import annotations

import pytest
import torch

from pocketlora_export.lower.xnnpack import XNNPACK
from pocketlora_export.ops.library import reference

ROWS, WIDTH, EPS = 5, 24, 1e-5


def _tensors(weight: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(weight)
    rows = [torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2)]
    return rows[0], rows[1], torch.randn(weight, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("weight", [WIDTH, 8], ids=["rows", "heads"])
def test_rms_norm_and_its_backward(weight: int) -> None:
    dy, x, scale = _tensors(weight)
    forward, backward = (XNNPACK.decompositions[name] for name in ("rms_norm", "rms_norm_backward"))
    torch.testing.assert_close(forward(x, scale, EPS), reference("rms_norm")(x, scale, EPS), rtol=1e-13, atol=1e-13)
    found, expected = backward(dy, x, scale, EPS), reference("rms_norm_backward")(dy, x, scale, EPS)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_products_stay_ours() -> None:
    """Weights and adapters are never constants of a delegate."""
    ours = {"linear4", "linear4_backward", "lora_linear", "lora_linear_backward", "head_loss", "embedding"}
    assert not ours & set(XNNPACK.decompositions)
