"""Process start to first token, and what a short example costs in a bundle made for long ones.

first-token: from the start of `pocketlora_run generate` to the line that tells its one new token. The page cache is
emptied of the base, then warmed by two runs.
short-example: training steps of few rows in two bundles of one model that differ in their longest row, alternating.
swap, pause, resume, restart: what a live engine does when it is told to (live_latency).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.live_latency import COMMANDS
from benchmarks.results import REPOSITORY, Row, megabytes, run_child, write
from pocketlora_export.runtime.session import COMPUTES

RUNNER = REPOSITORY / "build" / "host" / "tools" / "pocketlora_run"
OUTPUT = Path("build/bench-results")


def _generate(bundle: Path, prompt: int, context: int, threads: int, *options: str) -> dict[str, Any]:
    ids = ",".join(str(3 + i) for i in range(prompt))
    command = [RUNNER, "generate", bundle, "--prompt-ids", ids, "--max-new-tokens", "1"]
    command += ["--context-length", str(context), "--threads", str(threads), *options]
    start = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {child.returncode}")
    found: dict[str, Any] = json.loads(line)
    return found | {"first_token_seconds": seconds}


def _evict(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@click.group(help=__doc__)
def main() -> None:
    """Command line of this file."""


@main.command("first-token")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--prompt", default=8, show_default=True)
@click.option("--context", default=512, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--repeats", default=15, show_default=True)
@click.option("--compute", type=click.Choice(COMPUTES), default="auto", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, show_default=True)
def first_token(
    bundle: Path, prompt: int, context: int, threads: int, repeats: int, compute: str, output: Path
) -> None:
    """Median, best and worst of the repeats."""
    _evict(bundle / "base.ptd")
    options = ("--compute", compute)
    runs = [_generate(bundle, prompt, context, threads, *options) for _ in range(repeats + 2)][2:]
    seconds = sorted(run["first_token_seconds"] for run in runs)
    idle = _generate(bundle, prompt, context, threads, "--memory", *options)["memory_idle"]["rss_anon"]
    row: Row = {
        "bundle": bundle.name,
        "prompt": prompt,
        "compute": runs[0]["compute"],
        "median ms": f"{1e3 * statistics.median(seconds):.0f}",
        "best ms": f"{1e3 * seconds[0]:.0f}",
        "worst ms": f"{1e3 * seconds[-1]:.0f}",
        "prefill ms (median)": f"{1e3 * statistics.median(run['prefill_seconds'] for run in runs):.0f}",
        "idle session RssAnon MB": megabytes(idle),
    }
    write(output, "first_token", f"Process start to first token, {threads} threads, context {context}", [row])


@main.command("short-example")
@click.argument("long_bundle", type=click.Path(path_type=Path))
@click.argument("short_bundle", type=click.Path(path_type=Path))
@click.option("--rows", default=40, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, show_default=True)
def short_example(long_bundle: Path, short_bundle: Path, rows: int, threads: int, repeats: int, output: Path) -> None:
    """Median seconds of a step in both, and the ratio."""
    seconds: dict[Path, list[float]] = {long_bundle: [], short_bundle: []}
    for _ in range(repeats):
        for bundle, found in seconds.items():
            child = run_child("benchmarks.train_probe", bundle, "--rows", rows, "--steps", 5, "--threads", threads)
            found.append(json.loads(child.stdout)["seconds"])
    medians = {bundle: statistics.median(found) for bundle, found in seconds.items()}
    table = [
        {"bundle": bundle.name, "rows": rows, "s/step": f"{m:.3f}", "ratio": f"{m / medians[short_bundle]:.3f}"}
        for bundle, m in medians.items()
    ]
    write(output, "short_example", "A short example in bundles for longer ones", table)


for _live in COMMANDS:
    main.add_command(_live)

if __name__ == "__main__":
    main()
