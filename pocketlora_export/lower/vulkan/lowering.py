"""Captured stages to the edge dialect, each as one Vulkan delegate."""

from __future__ import annotations

from collections.abc import Mapping

from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.vulkan.serialization.vulkan_graph_schema import VkStorageType
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge
from executorch.exir.passes.cse_pass import CSEPass
from torch.export import ExportedProgram

from pocketlora_export.lower.vulkan.limits import DeviceLimits
from pocketlora_export.lower.vulkan.patches import patched

# One shard of constants a delegate: they are put into one file afterwards (`constants`).
_ANY_SIZE = (1 << 63) - 1


def to_vulkan(methods: Mapping[str, ExportedProgram], device: DeviceLimits, fp16: bool = False) -> EdgeProgramManager:
    """Lower stages that `capture_fixed` has traced.

    Values lie in buffers: the ops of training take nothing else, and the limits of images do not matter then.

    Args:
        methods: stages by name.
        device: limits of textures, for what the partitioner would put there all the same.
        fp16: compute in halves. Inference only: the runtime's ops of the backward take fp32.
    """
    edge = device.max_image_dimension_3d
    options = {
        "storage_type_override": VkStorageType.BUFFER,
        "texture_limits": (edge, edge, edge),
        "force_fp16": fp16,
        "external_constants_max_data_bytes": _ANY_SIZE,
    }
    with patched():
        manager = to_edge(dict(methods), compile_config=EdgeCompileConfig(_check_ir_validity=False))
        # The backward repeats what the forward has computed; written once in the stage's graph, it is computed once.
        return manager.transform([CSEPass()]).to_backend(VulkanPartitioner(options))
