"""Whether PyTorch obeys a cap of the instruction set, measured: its matmuls beside the peak of the capped one.

fp32 may not be faster than the multiply-adds of the instruction set, bfloat16 not faster than twice that (AVX-512 has
a dot product of pairs) unless AMX is allowed. Run by assert_cap in a process under the cap.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click

from benchmarks.isa import ISAS, below, capped_environment, machine_isa
from benchmarks.results import run_child
from benchmarks.roofline import Roofline

# A turbo clock that only one of the two measurements saw.
MARGIN = 1.1
_TRIES = 15


def _rate(size: int, dtype: Any) -> Callable[[], float]:
    import torch

    a, b = (torch.ones(size, size, dtype=dtype) for _ in range(2))

    def once() -> float:
        start = time.thread_time()
        torch.mm(a, b)
        return 2 * size**3 / (time.thread_time() - start)

    return once


def measure(isa: str) -> dict[str, float]:
    """FLOP/s of one thread by its own clock, the best of tries in turn: the peak, torch's fp32 and bfloat16 matmuls."""
    import torch

    torch.set_num_threads(1)
    roofline = Roofline()
    rates: dict[str, Callable[[], float]] = {
        "peak": lambda: roofline.flops(isa, 1, 1),
        "float32": _rate(512, torch.float32),
        "bfloat16": _rate(256, torch.bfloat16),
    }
    found = dict.fromkeys(rates, 0.0)
    for _ in range(_TRIES):
        found = {name: max(found[name], rate()) for name, rate in rates.items()}
    return found


def problems(isa: str, found: dict[str, float]) -> list[str]:
    """What is faster than the capped instruction set can be."""
    allowed = {"float32": found["peak"]}
    if isa != "amx":
        allowed["bfloat16"] = 2 * found["peak"]
    return [
        f"torch's {dtype} matmul reaches {found[dtype] / 1e9:.0f} GFLOP/s, {isa} at most {most / 1e9:.0f}"
        for dtype, most in allowed.items()
        if found[dtype] > MARGIN * most
    ]


def assert_cap(isa: str) -> str:
    """A line for a benchmark's title that tells the cap and how it was checked. SystemExit if it was not obeyed."""
    if isa == "native":
        return f"instruction set: the machine's own ({machine_isa()})"
    is_machine = not below(isa)
    child = run_child("benchmarks.isa_check", "--isa", isa, environment=capped_environment(isa))
    found = json.loads(child.stdout.splitlines()[-1])
    if broken := problems(isa, found):
        raise SystemExit(f"--isa {isa} is not obeyed: {'; '.join(broken)}")
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found.items())
    what = "the cap is the machine itself" if is_machine else "capped, and measured to be"
    return f"instruction set: {isa}, {what} (GFLOP/s: {rates})"


@click.command(help=__doc__)
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True)
def main(isa: str) -> None:
    """Command line of this file."""
    click.echo(json.dumps(measure(isa)))


if __name__ == "__main__":
    main()
