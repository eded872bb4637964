"""The same instruction set for every program of a benchmark.

A cap is four environment variables: ours, and ATen's, oneDNN's and MKL's of PyTorch, which obey one each. Whether they
were obeyed is measured (isa_check). Programs that choose by the CPU alone cannot be capped below it.
"""

from __future__ import annotations

import os
from pathlib import Path

# From the least to the most: what /proc/cpuinfo has to list for it.
_FLAGS = {
    "avx2": {"avx2", "fma", "f16c"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "amx": {"amx_tile", "amx_bf16", "amx_int8"},
}
ISAS = ("native", *_FLAGS)
_VARIABLES = ("POCKETLORA_ISA", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
# In the order of _VARIABLES. AVX512_CORE_FP16 is all of AVX-512 and no AMX; an empty one is not set.
_CAPS = {
    "native": ("", "", "", ""),
    "avx2": ("avx2", "avx2", "AVX2", "AVX2"),
    "avx512": ("avx512_vnni", "avx512", "AVX512_CORE_FP16", "AVX512"),
    "amx": ("amx", "", "AVX512_CORE_AMX", ""),
}


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def machine_isa() -> str:
    """The most of avx2, avx512 and amx that this CPU has; native where it has none of them."""
    has, found = _cpu_flags(), "native"
    for name, flags in _FLAGS.items():
        if not flags <= has:
            break
        found = name
    return found


def below(isa: str) -> bool:
    """Whether a cap is below what this CPU has. SystemExit if it is above."""
    if isa == "native":
        return False
    machine = machine_isa()
    if ISAS.index(isa) > ISAS.index(machine):
        raise SystemExit(f"--isa {isa}: the most that this CPU has is {machine}")
    return isa != machine


def capped_environment(isa: str) -> dict[str, str]:
    """This process's environment for a child under the cap; `native` takes caps away that are set here."""
    kept = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    caps = dict(zip(_VARIABLES, _CAPS[isa], strict=True))
    if isa == "avx512" and "avx512_vnni" not in _cpu_flags():
        caps["POCKETLORA_ISA"] = "avx512"
    return kept | {name: value for name, value in caps.items() if value}
