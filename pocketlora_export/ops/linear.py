"""Products with a 4-bit matrix: embedding rows, linear, and linear with a LoRA adapter, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pocketlora_export.ops.dropout import keep_scale
from pocketlora_export.ops.library import autograd, define
from pocketlora_export.q4 import SCHEME_NAMES, Q4Spec, dequantize

Q4_ARGS = "int n, int k, int quant, int group"


def dense(w: Tensor, q4: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """[n, k] of a stored matrix, by definition in fp32, then widened to `dtype`; q4 is (n, k, quant, group)."""
    n, k, quant, group = q4
    return dequantize(w, Q4Spec(n, k, SCHEME_NAMES[quant], group)).to(dtype)


def _embedding(tokens: Tensor, w: Tensor, *q4: int) -> Tensor:
    return dense(w, q4)[tokens]


def _linear(x: Tensor, w: Tensor, bias: Tensor | None, *q4: int) -> Tensor:
    return torch.nn.functional.linear(x, dense(w, q4, x.dtype), bias)


def _linear_backward(dy: Tensor, w: Tensor, *q4: int) -> Tensor:
    return dy @ dense(w, q4, dy.dtype)


def _lora(
    x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: Tensor,
    dropout: Tensor | None, seed: Tensor | None, site: int, *q4: int,
) -> Tensor:  # fmt: skip
    dropped = x * keep_scale(x, dropout, seed, site)
    return _linear(x, w, bias, *q4) + (dropped @ a.T * scale) @ b.T


def _lora_backward(
    dy: Tensor, x: Tensor, w: Tensor, a: Tensor, b: Tensor, scale: Tensor,
    dropout: Tensor | None, seed: Tensor | None, site: int, *q4: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    keep = keep_scale(x, dropout, seed, site)
    dropped = x * keep
    dt = dy @ b * scale
    dx = _linear_backward(dy, w, *q4) + dt @ a * keep
    return dx, dt.T @ dropped, dy.T @ (dropped @ a.T * scale)


embedding = define(
    "embedding",
    f"Tensor tokens, Tensor w, {Q4_ARGS}",
    returns=1,
    reference=_embedding,
    fake=lambda tokens, w, n, k, quant, group: tokens.new_empty(tokens.shape[0], k, dtype=torch.float32),
)
linear4 = define(
    "linear4",
    f"Tensor x, Tensor w, Tensor? bias, {Q4_ARGS}",
    returns=1,
    reference=_linear,
    fake=lambda x, w, bias, n, k, quant, group: x.new_empty(x.shape[0], n),
)
linear4_backward = define(
    "linear4_backward",
    f"Tensor dy, Tensor w, {Q4_ARGS}",
    returns=1,
    reference=_linear_backward,
    fake=lambda dy, w, n, k, quant, group: dy.new_empty(dy.shape[0], k),
)
_LORA_ARGS = f"Tensor a, Tensor b, Tensor scale, Tensor? dropout, Tensor? seed, int site, {Q4_ARGS}"
lora_linear = define(
    "lora_linear",
    f"Tensor x, Tensor w, Tensor? bias, {_LORA_ARGS}",
    returns=1,
    reference=_lora,
    fake=lambda x, w, bias, a, b, scale, dropout, seed, site, n, k, quant, group: x.new_empty(x.shape[0], n),
)
lora_linear_backward = define(
    "lora_linear_backward",
    f"Tensor dy, Tensor x, Tensor w, {_LORA_ARGS}",
    returns=3,
    reference=_lora_backward,
    fake=lambda dy, x, w, a, b, *rest: (torch.empty_like(x), torch.empty_like(a), torch.empty_like(b)),
)


def _setup_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    _, w, _, *ctx.q4 = inputs
    ctx.save_for_backward(w)


def _linear_formula(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (w,) = ctx.saved_tensors
    return (linear4_backward(dy, w, *ctx.q4), *[None] * 6)


def _setup_lora(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, w, _, a, b, scale, dropout, seed, *ctx.constants = inputs
    ctx.save_for_backward(x, w, a, b, scale, dropout, seed)


def _lora_formula(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, w, a, b, scale, dropout, seed = ctx.saved_tensors
    dx, da, db = lora_linear_backward(dy, x, w, a, b, scale, dropout, seed, *ctx.constants)
    return dx, None, None, da, db, *[None] * 8


autograd("linear4", _linear_formula, _setup_linear)
autograd("lora_linear", _lora_formula, _setup_lora)


class _KnownLinear(torch.autograd.Function):
    """`linear4` with its result given."""

    @staticmethod
    def forward(y: Tensor, *inputs: Any) -> Tensor:
        """The result as it is: nothing of it is left in a traced graph."""
        del inputs
        return y.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """As `linear4`'s, of the inputs after the result."""
        _setup_linear(ctx, inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """`linear4`'s own formula; the result has no gradient."""
        return None, *_linear_formula(ctx, dy)


class _KnownLora(_KnownLinear):
    """`lora_linear` with its result given."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """As `lora_linear`'s, of the inputs after the result."""
        _setup_lora(ctx, inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """`lora_linear`'s own formula; the result has no gradient."""
        return None, *_lora_formula(ctx, dy)


def known_linear4(y: Tensor, *inputs: Any) -> Tensor:
    """`linear4(*inputs)` whose result `y` f32 [N, n] is there already: no product, and the gradient of the op."""
    result: Tensor = _KnownLinear.apply(y, *inputs)  # type: ignore[no-untyped-call]
    return result


def known_lora_linear(y: Tensor, *inputs: Any) -> Tensor:
    """`lora_linear(*inputs)` whose result `y` f32 [N, n] is there already: no product, and the gradients of the op."""
    result: Tensor = _KnownLora.apply(y, *inputs)  # type: ignore[no-untyped-call]
    return result
