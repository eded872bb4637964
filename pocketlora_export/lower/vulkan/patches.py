"""What ExecuTorch's Vulkan partitioner is told beside what it knows. Everything that is patched is in this file.

The op registry is a Python table: an entry says which dtypes and storage an op takes. Entries are exchanged while
stages are lowered and put back afterwards, so other users of the partitioner in the same process see the original.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from executorch.backends.vulkan import patterns, utils
from executorch.backends.vulkan.op_registry import OpFeatures, vulkan_supported_ops
from executorch.exir.dialects._ops import ops as exir_ops

from pocketlora_export.errors import PocketLoraError, Status

# The patches were read off the sources of this version; another one is to be read again before it is added.
KNOWN_VERSIONS = ("1.5.1",)


def _features() -> dict[Any, OpFeatures]:
    """The entries that are exchanged, and why. All: drop when the wheel's own entries accept these nodes."""
    et_vk, uint8, fp32 = exir_ops.edge.et_vk, {torch.uint8}, {torch.float32}
    buffer, fp, none = utils.CONTIGUOUS_BUFFER, utils.FP_T, utils.NONE_T
    return {
        # 1.5.1 checks all inputs for floating point, so packed weights (uint8) keep the op out of the delegate.
        et_vk.linear_q4gsw.default: OpFeatures(
            inputs_dtypes=[fp, uint8, fp, none, fp], outputs_dtypes=fp, inputs_storage=buffer,
            supports_prepacking=True,
        ),
        # The same; and the runtime asserts fp32 and buffers (QuantizedLinearBackward.cpp), where 1.5.1's entry also
        # allows textures and fp16.
        et_vk.linear_q4gsw_backward.default: OpFeatures(
            inputs_dtypes=[fp32, uint8, fp32, none], outputs_dtypes=fp32, inputs_storage=buffer,
            supports_prepacking=True,
        ),
        # The runtime asserts fp32 and buffers (LinearDw.cpp), where 1.5.1's entry also allows textures and fp16.
        et_vk.linear_dW.default: OpFeatures(inputs_dtypes=fp32, inputs_storage=buffer),
    }  # fmt: skip


def check_version() -> None:
    """Refuse a version that the patches were not made for.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED, with the version that is installed and those that are known.
    """
    found = version("executorch").partition("+")[0]
    if found not in KNOWN_VERSIONS:
        raise PocketLoraError(
            Status.INPUT_UNSUPPORTED,
            f"backend vulkan: executorch {found} is installed, expected {' or '.join(KNOWN_VERSIONS)}: the entries of "
            "its op registry that are exchanged (pocketlora_export/lower/vulkan/patches.py) belong to a version",
        )


@contextmanager
def patched() -> Iterator[None]:
    """The partitioner with our entries, without pattern matching, and quiet.

    Patterns: our graphs hold the fused ops already, and 1.5.1 traces every pattern anew for each graph. Drop when they
    are traced once. Log: 1.5.1 sets the root logger to INFO on import; drop when it has a logger of its own.
    """
    check_version()
    entries, root = _features(), logging.getLogger()
    before = {op: vulkan_supported_ops[op] for op in entries}
    fusable, level = dict(patterns.fusable_patterns), root.level
    vulkan_supported_ops.update(entries)
    patterns.fusable_patterns.clear()
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        vulkan_supported_ops.update(before)
        patterns.fusable_patterns.update(fusable)
        root.setLevel(level)
