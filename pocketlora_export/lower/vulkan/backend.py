"""The `vulkan` backend: each stage as one delegate. Lowered here, not run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch.export import ExportedProgram

from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.graphs.weights import QuantScheme
from pocketlora_export.lower.backend import Backend
from pocketlora_export.lower.vulkan.capture import capture_fixed
from pocketlora_export.lower.vulkan.limits import GUARANTEED, DeviceLimits
from pocketlora_export.lower.vulkan.lowering import to_vulkan
from pocketlora_export.lower.vulkan.model import lower_layers
from pocketlora_export.lower.vulkan.patches import check_version
from pocketlora_export.lower.vulkan.weights import BlankWeights, scheme_problem

# Said wherever results of this backend are.
NOT_RUN = (
    "vulkan: lowered, not run: no Vulkan runtime was at hand, so neither values nor speed on a GPU are known, and this "
    "project's runtime does not call these programs"
)


@dataclass(frozen=True)
class VulkanOptions:
    """How to lower.

    `fp16`: the inference program computes in halves; training stays in fp32, as the runtime's backward takes nothing
    else. `device`: limits that are checked when stages are captured.
    """

    fp16: bool = False
    device: DeviceLimits = GUARANTEED


def _refused(scheme: QuantScheme) -> str | None:
    check_version()
    return scheme_problem(scheme.scheme, scheme.group_size)


def _blank(device: DeviceLimits, stage: Stage, rows: int, limits: Limits) -> ExportedProgram:
    return capture_fixed(stage, rows, limits, BlankWeights(), device)


def vulkan_backend(options: VulkanOptions) -> Backend:
    """The backend with options."""
    device = options.device
    return Backend(
        "vulkan",
        partial(to_vulkan, device=device),
        refused=_refused,
        trace_stage=partial(_blank, device),
        lower_decoder=partial(lower_layers, fp16=options.fp16, device=device),
        notes=(NOT_RUN,),
    )


VULKAN = vulkan_backend(VulkanOptions())
