"""Where a training step goes: perf's samples of steps on random tokens, by the kind of work.

Needs Linux' perf (Debian: linux-perf) and the right to use it. What the interpreter and the loader do counts nowhere;
opening the bundle is a few samples beside the steps. The parts are told from the names of functions.

Example: python -m benchmarks.step_profile build/peers-work/1b/bundle --rows 128 --compute int8
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import click

from benchmarks.results import REPOSITORY, Row, write
from pocketlora_export.runtime.session import COMPUTES

# The first that a function's name matches; names are those of kernels/ and of ExecuTorch's portable kernels.
PARTS = {
    "optimizer": r"adamw|adafactor|lion|squared_norm|optim",
    "loss": r"head::|head_loss|absorb_chunk",
    "attention": r"attention|score_tile|add_weighted|add_outer|ForwardTile|BackwardTile|::Float32Head",
    "elementwise ops, norms": r"activation|(rms|layer)_norm|rope|simd_exp|native::|opt_|soft_cap|embedding",
    "products: multiplying": r"micro<|micro_rows|multiply_panels|gemv_|fixed_panel|dot_group|fixed_tile",
    "products: decoding 4 bits": r"dequantize|decode_",
    "products: packing, transposing": r"pack_|interleave|round_(bytes|chunk)|transpose|order_row|row_blocks",
    "products: the rest": r"q4::|lora::|lora_linear|linear4|gemm::",
    "moving data": r"mem(cpy|move|set)|copy",
}
# Data-movement ops of a graph would be here; what products move for themselves is theirs.
ELEMENTWISE = ("elementwise ops, norms", "moving data")


def part_of(library: str, symbol: str) -> str | None:
    """The part that a function belongs to; None for what is no part of a step."""
    if library.startswith("[") or symbol.startswith("[k]"):
        return "operating system"
    if not re.search(r"pocketlora|executorch|libc\.so|libm\.so|libgomp", library):
        return None
    for part, pattern in PARTS.items():
        if re.search(pattern, symbol):
            return part
    return "the rest"


def shares(report: str) -> dict[str, float]:
    """Percent of a step by part, from lines of `perf report -F overhead,dso,symbol`, the largest first."""
    found: defaultdict[str, float] = defaultdict(float)
    for line in report.splitlines():
        match = re.match(r"\s*([\d.]+)%\s+(\S+)\s+(.*\S)", line)
        part = part_of(match[2], match[3]) if match else None
        if match and part:
            found[part] += float(match[1])
    total = sum(found.values())
    return {part: 100 * share / total for part, share in sorted(found.items(), key=lambda item: -item[1])}


def record(bundle: Path, options: list[object]) -> str:
    """Run steps under perf; its report. SystemExit with perf's own words where it cannot."""
    perf = shutil.which("perf")
    if perf is None:
        raise SystemExit("perf: not installed (Debian: apt-get install linux-perf)")
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        data = Path(work) / "perf.data"
        steps = [sys.executable, "-W", "ignore", "-m", "benchmarks.train_probe", bundle, *options]
        commands = (
            [perf, "record", "-q", "-o", data, *steps],
            [perf, "report", "-i", data, "--stdio", "-g", "none", "-F", "overhead,dso,symbol"],
        )
        for command in commands:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=REPOSITORY, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rows", default=128, show_default=True)
@click.option("--rank", default=16, show_default=True)
@click.option("--steps", default=3, show_default=True)
@click.option("--recompute", type=click.Choice(["full", "selective"]), default="full", show_default=True)
@click.option("--compute", type=click.Choice(COMPUTES), default="fp32", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(bundle: Path, rows: int, rank: int, steps: int, recompute: str, compute: str, output: Path) -> None:
    """Command line of this file."""
    options = ["--rows", rows, "--rank", rank, "--steps", steps, "--threads", 1]
    options += ["--recompute", recompute, "--compute", compute]
    found = shares(record(bundle.resolve(), options))
    table: list[Row] = [{"part": part, "of a step": f"{share:.1f} %"} for part, share in found.items()]
    together = sum(found.get(part, 0.0) for part in ELEMENTWISE)
    table.append({"part": " and ".join(ELEMENTWISE), "of a step": f"{together:.1f} %"})
    title = f"A training step of {rows} rows, rank {rank}, {recompute} recomputation, {compute}, one thread"
    write(output, "step_profile", title, table)


if __name__ == "__main__":
    main()
