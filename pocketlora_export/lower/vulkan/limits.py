"""Limits of a Vulkan device that a lowered stage must keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.export import ExportedProgram


@dataclass(frozen=True)
class DeviceLimits:
    """By default what the Vulkan specification guarantees on every device ("Required Limits").

    `max_storage_buffer_range`: bytes of one buffer that a shader reaches. `max_image_dimension_3d`: texels of an edge.
    """

    max_storage_buffer_range: int = 1 << 27
    max_image_dimension_3d: int = 256

    def part_rows(self, cols: int, token_rows: int) -> int:
        """Rows of a matrix of `cols` columns, so that neither their codes nor their products outgrow a buffer."""
        most = self.max_storage_buffer_range // max(cols // 2, 4 * token_rows)
        return max(32, most - most % 32)


GUARANTEED = DeviceLimits()


def buffer_problems(program: ExportedProgram, name: str, limits: DeviceLimits) -> list[str]:
    """Every value of a captured stage that is beyond what a shader can reach."""
    return [
        f"{name}: {node}: {list(value.shape)} {str(value.dtype).removeprefix('torch.')} takes {size} bytes, "
        f"max_storage_buffer_range is {limits.max_storage_buffer_range}"
        for node, value in _values(program)
        if (size := _bytes(value)) > limits.max_storage_buffer_range
    ]


def _bytes(value: Tensor) -> int:
    # The delegate stores 64-bit integers in 32 bits.
    return value.numel() * min(value.element_size(), 4)


def _values(program: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        values: Iterable[object] = value if isinstance(value, (list, tuple)) else [value]
        yield from ((node.name, one) for one in values if isinstance(one, Tensor))
