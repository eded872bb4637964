"""What the process holds beside the parts that the runtime counts, measured on x86-64 Linux with glibc."""

from __future__ import annotations

from pocketlora_export.plan.memory import Shape

# The program and the libraries before anything is opened: relocated data, the loader's and the C++ library's heap.
STARTED = 330_000
# The manifest's text and what is kept of it: names, bindings, sites.
_HEAP_PER_MANIFEST_BYTE = 4.4
# Small vectors, maps and ends of pages of a trainer or a session.
_WORKING = 150_000
# A thread of the pool: its stack's first pages.
PER_THREAD = 8_000
# Text of manifest.json: what every bundle has, a tensor of the base and a LoRA site with the stages that bind them.
_MANIFEST, _PER_TENSOR, _PER_SITE = 59_000, 397, 316
# Pages of the program and its libraries.
LIBRARIES = 6_500_000


def manifest_bytes(shape: Shape, num_tensors: int) -> int:
    """Size of manifest.json."""
    return _MANIFEST + _PER_TENSOR * num_tensors + _PER_SITE * len(shape.sites)


def process_bytes(shape: Shape, num_tensors: int, threads: int) -> int:
    """RssAnon that no account has: start, the manifest, small things, further threads."""
    heap = int(_HEAP_PER_MANIFEST_BYTE * manifest_bytes(shape, num_tensors))
    return STARTED + heap + _WORKING + PER_THREAD * (threads - 1)
