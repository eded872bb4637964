"""Every op: schema and fake against the reference (opcheck), autograd against finite differences (gradcheck)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.ops.dropout import uniform
from pocketlora_export.ops.kv_cache import CACHE_FORMATS, CacheFormat, format_of, head_bytes, load_rows, store_rows
from pocketlora_export.q4 import SCHEME_IDS, Q4Spec, pack

SPEC = Q4Spec(rows=24, cols=40, scheme="int4", group_size=32)
Q4 = (SPEC.rows, SPEC.cols, SCHEME_IDS[SPEC.scheme], SPEC.group_size)
SEGMENTS = torch.tensor([0, 2, 5])
ROWS = 5


def matrix() -> Tensor:
    codes = torch.randint(0, 16, (SPEC.rows, SPEC.cols), dtype=torch.uint8)
    return pack(codes, torch.rand(SPEC.rows, 2).half() * 0.1, SPEC)


def rand(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def attention_inputs() -> tuple[Tensor, Tensor, Tensor]:
    return rand(ROWS, 16), rand(ROWS, 8), rand(ROWS, 8)


def lora_inputs(rank: int, p: float | None) -> tuple[Any, ...]:
    mask = (None, None) if p is None else (torch.tensor([p]), torch.tensor([7]))
    adapter = (rand(rank, SPEC.cols), rand(SPEC.rows, rank), rand(rank, grad=False))
    return rand(ROWS, SPEC.cols), matrix(), rand(SPEC.rows, grad=False), *adapter, *mask, 3, *Q4


DIFFERENTIABLE: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "rms_norm": (ops.rms_norm, lambda: (rand(ROWS, 12), rand(12, grad=False), 1e-5)),
    "rms_norm_heads": (ops.rms_norm, lambda: (rand(ROWS, 12), rand(4, grad=False), 1e-5)),
    "layer_norm": (ops.layer_norm, lambda: (rand(ROWS, 12), rand(12, grad=False), rand(12, grad=False), 1e-5)),
    "layer_norm_heads": (ops.layer_norm, lambda: (rand(ROWS, 12), rand(4, grad=False), rand(4, grad=False), 1e-5)),
    "layer_norm_bare": (ops.layer_norm, lambda: (rand(ROWS, 12), None, None, 1e-5)),
    "rope": (ops.rope, lambda: (rand(ROWS, 16), rand(ROWS, 8, grad=False), 8, False)),
    "rope_partial": (ops.rope, lambda: (rand(ROWS, 16), rand(ROWS, 4, grad=False), 8, True)),
    "swiglu": (ops.swiglu, lambda: (rand(ROWS, 6), rand(ROWS, 6))),
    "geglu_tanh": (ops.geglu_tanh, lambda: (rand(ROWS, 6), rand(ROWS, 6))),
    "gelu_tanh": (ops.gelu_tanh, lambda: (rand(ROWS, 6),)),
    "attention": (lambda *args: ops.attention(*args)[0], lambda: (*attention_inputs(), SEGMENTS, 4, 0.5, 0, 0.0)),
    "attention_window": (
        lambda *args: ops.attention(*args)[0],
        lambda: (*attention_inputs(), SEGMENTS, 4, 0.5, 2, 0.0),
    ),
    "attention_softcap": (
        lambda *args: ops.attention(*args)[0],
        lambda: (*attention_inputs(), SEGMENTS, 4, 0.5, 0, 0.7),
    ),
    "linear4": (ops.linear4, lambda: (rand(ROWS, SPEC.cols), matrix(), None, *Q4)),
    "lora_linear": (ops.lora_linear, lambda: lora_inputs(3, None)),
    "lora_linear_dropout": (ops.lora_linear, lambda: lora_inputs(2, 0.4)),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_backward_against_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    op, make = DIFFERENTIABLE[name]
    assert torch.autograd.gradcheck(op, make())


def test_unused_site_is_the_bare_linear() -> None:
    torch.manual_seed(0)
    inputs = lora_inputs(0, None)
    plain = ops.linear4(inputs[0], inputs[1], inputs[2], *Q4)
    assert torch.equal(ops.lora_linear(*inputs), plain)


def _float(value: Any) -> Any:
    is_double = isinstance(value, Tensor) and value.dtype == torch.float64
    return value.detach().float() if is_double else value


OPCHECK: dict[str, Callable[[], tuple[Any, ...]]] = {
    "embedding": lambda: (torch.tensor([0, 23, 5]), matrix(), *Q4),
    "rope_table": lambda: (torch.arange(ROWS), torch.rand(4), 1.0),
    "rms_norm_backward": lambda: (rand(ROWS, 12), rand(ROWS, 12), rand(12), 1e-5),
    "layer_norm": lambda: (rand(ROWS, 12), rand(12), None, 1e-5),
    "layer_norm_backward": lambda: (rand(ROWS, 12), rand(ROWS, 12), None, 1e-5),
    "swiglu_backward": lambda: (rand(ROWS, 6), rand(ROWS, 6), rand(ROWS, 6)),
    "geglu_tanh_backward": lambda: (rand(ROWS, 6), rand(ROWS, 6), rand(ROWS, 6)),
    "gelu_tanh_backward": lambda: (rand(ROWS, 6), rand(ROWS, 6)),
    "soft_cap": lambda: (rand(ROWS, 6), 30.0),
    "attention": lambda: (*attention_inputs(), SEGMENTS, 4, 0.5, 2, 1.5),
    "attention_backward": lambda: (
        *(rand(ROWS, 16), *attention_inputs(), rand(ROWS, 16), rand(ROWS, 4)),
        *(SEGMENTS, 4, 0.5, 2, 1.5),
    ),
    "attention_cached": lambda: (
        *attention_inputs(),
        *(store_rows(torch.randn(9, 8), 4, "float32") for _ in "kv"),
        *(torch.tensor([4]), 4, 0.5, 3, 1.5),
    ),
    "linear4_backward": lambda: (rand(ROWS, SPEC.rows), matrix(), *Q4),
    "lora_linear": lambda: lora_inputs(2, 0.5),
    "lora_linear_backward": lambda: (
        rand(ROWS, SPEC.rows),
        *(value for index, value in enumerate(lora_inputs(2, None)) if index != 2),
    ),
    "head_loss": lambda: (
        *(rand(ROWS, SPEC.cols), matrix(), None),
        *(torch.tensor([1, -100, 23, 0, 7]), torch.rand(ROWS), *Q4, 1.5),
    ),
}


@pytest.mark.parametrize("name", OPCHECK)
def test_schema_and_fake(name: str) -> None:
    torch.manual_seed(0)
    overload = getattr(torch.ops.pocketlora, name).default
    inputs = tuple(_float(value) for value in OPCHECK[name]())
    torch.library.opcheck(overload, inputs, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("name", OPCHECK)
def test_out_variant_equals_functional(name: str) -> None:
    torch.manual_seed(0)
    inputs = tuple(_float(value) for value in OPCHECK[name]())
    packet = getattr(torch.ops.pocketlora, name)
    expected = packet.default(*inputs)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    names = ["out"] if len(expected) == 1 else [f"out{i}" for i in range(len(expected))]
    outs = {key: torch.empty(0, dtype=value.dtype) for key, value in zip(names, expected, strict=True)}
    packet.out(*inputs, **outs)
    for found, wanted in zip(outs.values(), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("softcap", [0.0, 0.8])
@pytest.mark.parametrize("biased", [False, True])
def test_head_loss_gradient_and_ignored_labels(biased: bool, softcap: float) -> None:
    torch.manual_seed(0)
    h, w = rand(ROWS, SPEC.cols), matrix()
    bias = rand(SPEC.rows, grad=False) if biased else None
    labels, weights = torch.tensor([1, -100, 23, 0, 7]), torch.rand(ROWS, dtype=torch.float64)

    def loss(hidden: Tensor) -> Tensor:
        total: Tensor = ops.head_loss(hidden, w, bias, labels, weights, *Q4, softcap)[1]
        return total

    logits = ops.linear4(h, w, bias, *Q4)
    logits = softcap * torch.tanh(logits / softcap) if softcap else logits
    nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(loss(h.detach())[0], (nll * weights).sum())
    (expected,) = torch.autograd.grad((nll * weights).sum(), h)
    logprobs, _, dh = ops.head_loss(h.detach(), w, bias, labels, weights, *Q4, softcap)
    torch.testing.assert_close(dh, expected)
    torch.testing.assert_close(logprobs, -nll.detach())


@pytest.mark.parametrize("window", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("softcap", [0.0, 1.5])
@pytest.mark.parametrize("cache_format", CACHE_FORMATS)
def test_attention_cached_continues_attention(cache_format: CacheFormat, softcap: float, window: int) -> None:
    """It is the attention over the rows as the cache stores them, the new ones included."""
    torch.manual_seed(0)
    head_dim = 8
    q, k, v = torch.randn(ROWS, 16), torch.randn(ROWS, 8), torch.randn(ROWS, 8)
    k_cache, v_cache = (store_rows(rows, head_dim, cache_format) for rows in (k, v))
    stored = [load_rows(cache, head_dim, k) for cache in (k_cache, v_cache)]
    whole = ops.attention(q, *stored, torch.tensor([0, ROWS]), head_dim, 0.5, window, softcap)[0]
    tail = ops.attention_cached(
        q[3:], k[3:], v[3:], k_cache, v_cache, torch.tensor([3]), head_dim, 0.5, window, softcap
    )
    torch.testing.assert_close(tail, whole[3:])


@pytest.mark.parametrize(("cache_format", "step"), [("float32", 0.0), ("float16", 2.0**-11), ("int8", 0.5 / 127)])
def test_stored_rows_are_within_half_a_step(cache_format: CacheFormat, step: float) -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 48)
    stored = store_rows(rows, 24, cache_format)
    assert stored.shape == (6, 2 * head_bytes(cache_format, 24))
    assert format_of(stored.shape[1], 48, 24) == cache_format
    largest = rows.view(6, 2, 24).abs().amax(-1, keepdim=True).expand(6, 2, 24).reshape(6, 48)
    # A fp16 value is off by half a unit of its last place, an int8 value by half a step and its rounding.
    assert ((load_rows(stored, 24, rows) - rows).abs() <= largest * step * (1 + 2.0**-13)).all()


def test_a_window_is_a_mask() -> None:
    torch.manual_seed(0)
    q, k, v = (tensor.detach() for tensor in attention_inputs())
    found = ops.attention(q, k, v, torch.tensor([0, ROWS]), 4, 0.5, 2, 0.0)[0]
    for row in range(ROWS):
        first = max(0, row - 1)
        seen = slice(first, row + 1)
        alone = ops.attention(q[seen], k[seen], v[seen], torch.tensor([0, row + 1 - first]), 4, 0.5, 0, 0.0)[0]
        torch.testing.assert_close(found[row], alone[-1])


def test_dropout_mask_statistics_and_independence() -> None:
    rows, cols = 200, 300
    first, second = uniform(rows, cols, 1, 0), uniform(rows, cols, 1, 1)
    # The mean of n uniforms has standard deviation 1/sqrt(12 n); five of them is a false alarm in two million.
    bound = 5 * (12 * rows * cols) ** -0.5
    assert abs(first.mean().item() - 0.5) < bound
    assert abs(((first - 0.5) * (second - 0.5)).mean().item()) < 5 / 12 * (rows * cols) ** -0.5
    assert not torch.equal(first, uniform(rows, cols, 2, 0))
