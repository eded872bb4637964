"""What the process holds beside the parts that the runtime counts, measured on x86-64 Linux with glibc."""

from __future__ import annotations

from pocketlora_export.plan.memory import Shape

# The program and the libraries before anything is opened: relocated data, the loader's and the C++ library's heap.
STARTED = 330_000
# A manifest is parsed into a tree of small allocations, most of which stay with the heap when the tree is gone.
_HEAP_PER_MANIFEST_BYTE = 11.8
# A thread of the pool: its stack's first pages, its own heap and the rests of scratch that has moved.
PER_THREAD = 400_000
# Text of manifest.json: what every bundle has, a tensor of the base and a LoRA site with the stages that bind them.
_MANIFEST, _PER_TENSOR, _PER_SITE = 44_000, 397, 305
# Pages of the program and its libraries.
LIBRARIES = 6_500_000


def manifest_bytes(shape: Shape, num_tensors: int) -> int:
    """Size of manifest.json."""
    return _MANIFEST + _PER_TENSOR * num_tensors + _PER_SITE * len(shape.sites)


def process_bytes(shape: Shape, num_tensors: int, threads: int) -> int:
    """RssAnon that no account has: start, the manifest's tree, further threads."""
    heap = int(_HEAP_PER_MANIFEST_BYTE * manifest_bytes(shape, num_tensors))
    return STARTED + heap + PER_THREAD * (threads - 1)
