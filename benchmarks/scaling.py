"""What a second thread brings to a training step: processes with one and with more threads in turn.

Example: python -m benchmarks.scaling build/peers-work/1b/bundle --rows 128 --compute int16
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import click

from benchmarks.results import Row, run_child, write
from pocketlora_export.runtime.session import COMPUTES


def ratios(alone: list[float], together: list[float]) -> list[float]:
    """How much faster it was with more threads, turn by turn, from the least to the most."""
    return sorted(one / more for one, more in zip(alone, together, strict=True))


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
    table: list[Row] = []
    for compute in computes:
        seconds: dict[int, list[float]] = {1: [], threads: []}
        for _ in range(turns):
            for count, found in seconds.items():
                options = ("--rows", rows, "--rank", rank, "--steps", steps, "--threads", count)
                child = run_child(
                    "benchmarks.train_probe",
                    bundle.resolve(),
                    *options,
                    *("--recompute", recompute, "--compute", compute),
                )
                found.append(json.loads(child.stdout.splitlines()[-1])["seconds"])
        faster = ratios(seconds[1], seconds[threads])
        row = {"compute": compute, "1 thread, s": f"{statistics.median(seconds[1]):.3f}"}
        row |= {f"{threads} threads, s": f"{statistics.median(seconds[threads]):.3f}"}
        row |= {"times as fast": f"{statistics.median(faster):.2f}", "from": f"{faster[0]:.2f}"}
        table.append({**row, "to": f"{faster[-1]:.2f}", "turns": turns})
    write(output, "scaling", f"A training step of {rows} rows, rank {rank}, {recompute} recomputation", table)


if __name__ == "__main__":
    main()
