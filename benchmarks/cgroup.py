"""A memory control group for one child process, and files out of the page cache. Linux, version 1 and 2, as root."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with a memory limit."""

    folder: Path
    version: int

    @property
    def procs(self) -> Path:
        """Where a process writes its number to enter the group."""
        return self.folder / "cgroup.procs"

    def peak(self) -> int:
        """The largest use of memory so far in bytes, page cache included."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return int((self.folder / name).read_text())


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A new group with this limit in bytes, gone at the end. Raises SystemExit that says what is missing."""
    group = _group()
    try:
        group.folder.mkdir()
        (group.folder / ("memory.limit_in_bytes" if group.version == 1 else "memory.max")).write_text(str(limit))
    except OSError as error:
        raise SystemExit(
            f"{group.folder}: no memory control group can be made: {error}\n"
            "run this as root, with the memory controller mounted (version 1) or enabled in "
            f"{MOUNT}/cgroup.subtree_control (version 2)"
        ) from error
    try:
        yield group
    finally:
        group.folder.rmdir()


def _group() -> MemoryGroup:
    name = f"pocketlora-{os.getpid()}"
    if (MOUNT / "memory" / "memory.limit_in_bytes").exists():
        return MemoryGroup(MOUNT / "memory" / name, 1)
    if "memory" in (MOUNT / "cgroup.controllers").read_text().split():
        return MemoryGroup(MOUNT / name, 2)
    raise SystemExit(f"{MOUNT}: there is no memory controller, of version 1 or 2")


def evict(path: Path) -> int:
    """Drop a file's clean pages from the page cache. Returns how many bytes of it are still there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached(file.fileno(), path.stat().st_size)


def _cached(descriptor: int, size: int) -> int:
    """Bytes of a file in the page cache, by mincore over a mapping of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    pages = -(-size // mmap.PAGESIZE)
    present = (ctypes.c_ubyte * pages)()
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), present) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return sum(flags & 1 for flags in present) * mmap.PAGESIZE
