"""No function is compiled for two instruction sets under one name.

An inline function that is not inlined is a weak symbol: the linker keeps one copy for all, perhaps one with
instructions that the CPU does not have.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path


def instruction_set(object_file: Path) -> str:
    """That of its flags: the file's name, where that is one; all other files are compiled for any CPU."""
    name = object_file.name.removesuffix(".cc.o")
    return name if name.split("_")[0] in ("avx2", "avx512", "neon") else "any"


def weak_symbols(object_file: Path) -> set[str]:
    """Names that an object defines weakly."""
    done = subprocess.run(["nm", "-C", "--defined-only", object_file], capture_output=True, text=True, check=True)
    lines = (line.split(" ", 2) for line in done.stdout.splitlines())
    return {name for _, kind, name in lines if kind in ("W", "V", "u")}


def test_instruction_sets_share_no_function(repository: Path) -> None:
    objects = sorted((repository / "build/host/kernels/CMakeFiles/pocketlora_kernels.dir").glob("*/*.cc.o"))
    assert len({instruction_set(path) for path in objects}) > 1, "the kernels are not built: make runtime"
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for path in objects:
        for name in weak_symbols(path):
            homes[name].add(instruction_set(path))
    shared = [f"{name}: {', '.join(sorted(isas))}" for name, isas in homes.items() if len(isas) > 1]
    assert not shared, "\n".join(shared)
