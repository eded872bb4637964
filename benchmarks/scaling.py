"""What a second thread brings to a training step: processes with one and with more threads in turn.

Beside it, in the same turns, what it brings to multiply-adds in registers, and what as many processes of one thread do
at once. Less than twice there says that two processors are one core's, share a memory that is too slow for both, or
were lent to others: no program's threads can bring more.

Example: python -m benchmarks.scaling build/peers-work/1b/bundle --rows 128 --compute int16
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from benchmarks.results import Row, run_child, write
from benchmarks.roofline import Roofline
from pocketlora_export.runtime.session import COMPUTES


def ratios(alone: list[float], together: list[float]) -> list[float]:
    """How much faster it was with more threads, turn by turn, from the least to the most."""
    return sorted(one / more for one, more in zip(alone, together, strict=True))


Measure = Callable[[int], float]


def _registers() -> Measure:
    """Seconds of 1e12 fp32 operations that wait for no memory, over two seconds: the machine as a step finds it."""
    roofline = Roofline()
    return lambda count: 1e12 / roofline.flops("native", count, tries=1, seconds=2.0)


def _seconds(bundle: Path, options: tuple[object, ...], threads: int) -> float:
    child = run_child("benchmarks.train_probe", bundle.resolve(), *options, "--threads", threads)
    return float(json.loads(child.stdout.splitlines()[-1])["seconds"])


def _step(bundle: Path, options: tuple[object, ...]) -> Measure:
    """Seconds of a training step, in a process of its own."""
    return lambda count: _seconds(bundle, options, count)


def _processes(bundle: Path, options: tuple[object, ...]) -> Measure:
    """Seconds between two steps' ends, where so many processes of one thread make steps at once."""

    def measure(count: int) -> float:
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(lambda _: _seconds(bundle, options, 1), range(count)))
        return statistics.mean(found) / count

    return measure


def _row(work: str, threads: int, pairs: list[tuple[float, float]]) -> Row:
    alone, together = (list(column) for column in zip(*pairs, strict=True))
    faster = ratios(alone, together)
    return {
        "work": work,
        "1, s": f"{statistics.median(alone):.3f}",
        f"{threads}, s": f"{statistics.median(together):.3f}",
        "times as fast": f"{statistics.median(faster):.2f}",
        "from": f"{faster[0]:.2f}",
        "to": f"{faster[-1]:.2f}",
        "turns": len(faster),
    }


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--threads", default=2, show_default=True, type=click.IntRange(2))
@click.option("--rows", default=128, show_default=True)
@click.option("--rank", default=16, show_default=True)
@click.option("--steps", default=3, show_default=True, help="Steps of a run; their median counts.")
@click.option("--turns", default=3, show_default=True)
@click.option("--recompute", type=click.Choice(["full", "selective"]), default="full", show_default=True)
@click.option("--compute", "computes", multiple=True, type=click.Choice(COMPUTES), default=("fp32",), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(
    bundle: Path,
    threads: int,
    rows: int,
    rank: int,
    steps: int,
    turns: int,
    recompute: str,
    computes: tuple[str, ...],
    output: Path,
) -> None:
    """Command line of this file."""
    options = ("--rows", rows, "--rank", rank, "--steps", steps, "--recompute", recompute)
    works = {"multiply-adds in registers, 1e12 FLOP": _registers()}
    for compute in computes:
        chosen = (*options, "--compute", compute)
        works |= {f"{compute}, threads": _step(bundle, chosen), f"{compute}, processes": _processes(bundle, chosen)}
    pairs: dict[str, list[tuple[float, float]]] = {work: [] for work in works}
    for _ in range(turns):
        for work, measure in works.items():
            pairs[work].append((measure(1), measure(threads)))
    table = [_row(work, threads, found) for work, found in pairs.items()]
    write(output, "scaling", f"A training step of {rows} rows, rank {rank}, {recompute} recomputation", table)


if __name__ == "__main__":
    main()
