"""A training step beside PEFT with a float32 base: alternating runs in processes of their own, one thread, medians."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import click

from benchmarks.memory import make_bundle
from benchmarks.random_model import SHAPES
from benchmarks.results import Child, megabytes, run_child, write

RANK = 16


def measure(work: Path, bundle: Path, rows: int, repeats: int) -> dict[str, list[Child]]:
    """Alternate the two; every run is a fresh process."""
    runs: dict[str, list[Child]] = {"PocketLoRA NF4": [], "PEFT float32": []}
    options = ("--rows", rows, "--rank", RANK, "--steps", 5, "--threads", 1)
    for _ in range(repeats):
        runs["PocketLoRA NF4"].append(run_child("benchmarks.train_probe", bundle, *options))
        runs["PEFT float32"].append(run_child("benchmarks.peft_probe", work / "model", *options))
    return runs


def row_of(name: str, runs: list[Child], rows: int) -> dict[str, str]:
    """Median step, tokens a second, peak memory of the process."""
    seconds = statistics.median(json.loads(run.stdout.splitlines()[-1])["seconds"] for run in runs)
    peak = statistics.median(run.peak_rss for run in runs)
    return {
        "": name,
        "rows": str(rows),
        "s/step": f"{seconds:.3f}",
        "tokens/s": f"{rows / seconds:.1f}",
        "peak RSS MB": megabytes(peak),
    }


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="135m", show_default=True)
@click.option("--rows", default=128, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(shape: str, rows: int, repeats: int, output: Path) -> None:
    """Command line of this file."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        bundle = make_bundle(shape, Path(work))
        runs = measure(Path(work), bundle, rows, repeats)
    table = [row_of(name, found, rows) for name, found in runs.items()]
    write(output, "train_step", f"Training step, {shape}, LoRA rank {RANK} on all linear layers, one thread", table)


if __name__ == "__main__":
    main()
