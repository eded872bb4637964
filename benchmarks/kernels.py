"""Runs the kernels' Google Benchmark executables and writes one table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import click

from benchmarks.results import write


def run_bench(executable: Path, filter_: str, min_time: float) -> list[dict[str, Any]]:
    """Rows of one executable; counters other than the usual ones are kept under their own names."""
    command = [executable, "--benchmark_format=json", f"--benchmark_filter={filter_}"]
    command.append(f"--benchmark_min_time={min_time}")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return [_row(executable.stem.removesuffix("_bench"), b) for b in json.loads(done.stdout)["benchmarks"]]


def _row(kernel: str, bench: dict[str, Any]) -> dict[str, Any]:
    scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[bench["time_unit"]]
    row = {"kernel": kernel, "case": bench["name"], "us": f"{bench['real_time'] * scale:.2f}"}
    rates = {key: value for key, value in bench.items() if key.endswith(("_per_second", "/s"))}
    row["rate"] = ", ".join(f"{value / 1e9:.2f} G{key}" for key, value in rates.items() if value)
    return row


@click.command(help=__doc__)
@click.option("--build", type=click.Path(path_type=Path), default=Path("build/bench"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
@click.option("--filter", "filter_", default=".", help="Regular expression of cases.")
@click.option("--min-time", default=0.2, show_default=True, help="Seconds a case.")
def main(build: Path, output: Path, filter_: str, min_time: float) -> None:
    """Command line of this file."""
    executables = sorted(build.rglob("*_bench"))
    if not executables:
        raise click.UsageError(f"no *_bench executable below {build}; run `make bench`")
    rows = [row for path in executables for row in run_bench(path, filter_, min_time)]
    write(output, "kernels", "Kernels, one thread", rows)


if __name__ == "__main__":
    main()
