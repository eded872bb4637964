"""The `xnnpack` backend: norms, rotary embedding and activations in XNNPACK's delegates between our 4-bit kernels."""

from __future__ import annotations

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower

from pocketlora_export.lower.backend import Backend, Methods
from pocketlora_export.ops.library import reference

_DECOMPOSED = (
    "rms_norm", "rms_norm_backward", "layer_norm", "layer_norm_backward", "rope", "swiglu", "swiglu_backward",
    "geglu_tanh", "geglu_tanh_backward", "gelu_tanh", "gelu_tanh_backward", "soft_cap",
)  # fmt: skip


def _to_edge(methods: Methods) -> EdgeProgramManager:
    return to_edge_transform_and_lower(
        dict(methods),
        partitioner=[XnnpackPartitioner(force_non_static_weights_for_f32_linear=True)],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


XNNPACK = Backend("xnnpack", _to_edge, {name: reference(name) for name in _DECOMPOSED})
