"""Runs a module as `python -m` would and leaves the peak memory of the process in a file.

Usage: python -m benchmarks.peak FILE MODULE ARGUMENTS

VmHWM, because ru_maxrss of a child begins with what its parent held when it was started.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def peak_rss() -> int:
    """Peak resident memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def main() -> None:
    """Command line of this file."""
    file, module, *rest = sys.argv[1:]
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(file).write_text(str(peak_rss()))


if __name__ == "__main__":
    main()
