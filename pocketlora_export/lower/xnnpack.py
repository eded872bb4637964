"""The `xnnpack` backend: norms and activations in XNNPACK's delegates, between our 4-bit kernels.

docs/backends.md says why the cut is here: the products with 4-bit weights, the LoRA branch (dropout, rank 0),
attention, rotary embedding and the loss stay in our kernels.
"""

from __future__ import annotations

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower
from torch import Tensor

from pocketlora_export.lower.backend import Backend, Methods
from pocketlora_export.ops.library import reference

_ACTIVATIONS = (
    *("swiglu", "swiglu_backward", "geglu_tanh", "geglu_tanh_backward", "gelu_tanh", "gelu_tanh_backward"),
    "soft_cap",
)


def _mean(x: Tensor) -> Tensor:
    """[N, H] -> [N, 1] as a product with a column, which XNNPACK takes for every N; it has no mean of rows."""
    return x @ x.new_full((x.shape[1], 1), 1 / x.shape[1])


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Of whole rows without a view of them; heads are normed by the op's own definition."""
    if weight.shape[0] != x.shape[1]:
        normed: Tensor = reference("rms_norm")(x, weight, eps)
        return normed
    return x * (_mean(x * x) + eps).rsqrt() * weight


def _rms_norm_backward(dy: Tensor, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    if weight.shape[0] != x.shape[1]:
        dx: Tensor = reference("rms_norm_backward")(dy, x, weight, eps)
        return dx
    rstd, scaled = (_mean(x * x) + eps).rsqrt(), dy * weight
    return rstd * scaled - x * (rstd * rstd * rstd) * _mean(scaled * x)


def _to_edge(methods: Methods) -> EdgeProgramManager:
    return to_edge_transform_and_lower(
        dict(methods),
        partitioner=[XnnpackPartitioner(force_non_static_weights_for_f32_linear=True)],
        # Our ops are not of ATen's core.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


XNNPACK = Backend(
    "xnnpack",
    _to_edge,
    {
        **{name: reference(name) for name in _ACTIVATIONS},
        "rms_norm": _rms_norm,
        "rms_norm_backward": _rms_norm_backward,
    },
)
