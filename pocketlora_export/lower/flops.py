"""Floating-point operations of a node, from its shapes. A product of an addition and a multiplication counts as two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor

Sizes = Mapping[sympy.Symbol, int]
Shape = tuple[int, ...]

# What only moves values, or makes them without arithmetic.
_MOVES = (
    "view_copy", "permute_copy", "t_copy", "transpose_copy", "slice_copy", "select_copy", "cat", "clone", "split_copy",
    "split_with_sizes_copy", "expand_copy", "unsqueeze_copy", "squeeze_copy", "full", "full_like", "arange", "zeros",
    "ones", "scalar_tensor", "_to_copy", "_to_dim_order_copy", "_clone_dim_order", "_empty_dim_order", "embedding",
    "embedding_q4gsw", "gather", "index", "alias_copy", "detach_copy", "lift_fresh_copy", "where",
)  # fmt: skip
# Operations a value of the (first) result.
_PER_VALUE = {
    "_softmax": 5, "rms_norm": 4, "rms_norm_backward": 8, "layer_norm": 7, "layer_norm_backward": 12, "rope": 3,
    "rope_table": 2, "swiglu": 5, "swiglu_backward": 10, "geglu_tanh": 12, "geglu_tanh_backward": 22, "gelu_tanh": 11,
    "gelu_tanh_backward": 20, "soft_cap": 3,
}  # fmt: skip


def _lora(n: int, i: int, o: int, r: int) -> int:
    return n * i * o + n * r * (i + o)


# Multiplications of products: (shapes of the arguments by name, shape of the first result) -> count.
_PRODUCTS: dict[str, Callable[[Mapping[str, Shape], Shape], int]] = {
    "mm": lambda s, out: math.prod(out) * s["self"][-1],
    "bmm": lambda s, out: math.prod(out) * s["self"][-1],
    "addmm": lambda s, out: math.prod(out) * s["mat1"][-1],
    "linear": lambda s, out: math.prod(out) * s["input"][-1],
    "linear_q4gsw": lambda s, out: math.prod(out) * s["self"][-1],
    "linear_q4gsw_backward": lambda s, out: math.prod(out) * s["d_out"][-1],
    "linear_dW": lambda s, out: math.prod(s["d_out"]) * s["x"][-1],
    "linear4": lambda s, out: math.prod(out) * s["x"][-1],
    "linear4_backward": lambda s, out: math.prod(out) * s["dy"][-1],
    "lora_linear": lambda s, out: _lora(out[0], s["x"][1], out[1], s["a"][0]),
    # dx as the forward; beside it x·Aᵀ again, and the gradients of A and B.
    "lora_linear_backward": lambda s, out: (
        _lora(out[0], out[1], s["dy"][1], s["a"][0]) + out[0] * s["a"][0] * (2 * out[1] + s["dy"][1])
    ),
    "attention": lambda s, out: 2 * s["q"][0] * math.prod(s["q"]),
    # Scores again, dP, dq, dk, dv.
    "attention_backward": lambda s, out: 5 * s["q"][0] * math.prod(s["q"]),
    "attention_cached": lambda s, out: 2 * (s["k_cache"][0] + s["k"][0]) * math.prod(s["q"]),
    # Logits, and what the probabilities expect of W.
    "head_loss": lambda s, out: 2 * s["h"][0] * s["h"][1] * s["n"][0],
}


def op_name(node: torch.fx.Node) -> str:
    """`namespace::name` of the op that a node calls."""
    schema: Any = getattr(node.target, "_schema", None)
    return str(getattr(node.target, "__name__", node.target)) if schema is None else str(schema.name)


def is_move(node: torch.fx.Node) -> bool:
    """Whether a node computes nothing."""
    return op_name(node).split("::")[-1] in _MOVES


def to_int(size: int | torch.SymInt, sizes: Sizes) -> int:
    """A dimension as a number."""
    return size if isinstance(size, int) else int(size.node.expr.xreplace(dict(sizes)))


def shape_of(value: Tensor, sizes: Sizes) -> Shape:
    """The shape of a fake tensor as numbers."""
    return tuple(to_int(size, sizes) for size in value.shape)


def nbytes_of(value: Tensor, sizes: Sizes) -> int:
    """Bytes of a fake tensor."""
    return math.prod(shape_of(value, sizes)) * value.element_size()


def tensors_of(value: object) -> list[Tensor]:
    """The tensors of a node's value."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, Tensor)]


def flops(node: torch.fx.Node, sizes: Sizes) -> int:
    """Operations of a node; `sizes`: the values of the symbols in its shapes."""
    name, results = op_name(node).split("::")[-1], tensors_of(node.meta.get("val"))
    if name in _MOVES or not results:
        return 0
    out = shape_of(results[0], sizes)
    if name in _PRODUCTS:
        return 2 * _PRODUCTS[name](_arguments(node, sizes), out)
    if name in _PER_VALUE:
        return _PER_VALUE[name] * math.prod(out)
    read = [
        math.prod(shape_of(t, sizes)) for argument in node.all_input_nodes for t in tensors_of(argument.meta["val"])
    ]
    return max([math.prod(out), *read])


def _arguments(node: torch.fx.Node, sizes: Sizes) -> dict[str, Shape]:
    """Shapes of the tensor arguments by name; a whole number n as (n,)."""
    schema: Any = node.target
    given = dict(zip((a.name for a in schema._schema.arguments), node.args, strict=False)) | node.kwargs
    found = {name: (value,) for name, value in given.items() if isinstance(value, int)}
    nodes = {name: value for name, value in given.items() if isinstance(value, torch.fx.Node)}
    return found | {name: shape_of(value.meta["val"], sizes) for name, value in nodes.items()}
