"""Our 4-bit products, dequantization included, beside torch.matmul in fp32: the seven linear layers of a block.

Both products, y = x·Wᵀ and dx = dy·W, in one process, layer by layer in turn, under one cap of the instruction set.
GFLOP/s is all operations of the seven layers over all their time; the ratio is ours to torch's within a turn, that of
ours in bf16 to torch's product of bf16.

Example: python -m benchmarks.gemm --shape 1b --rows 128 --rows 256 --isa avx2
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click

from benchmarks.isa import ISAS, capped_environment
from benchmarks.isa_check import assert_cap
from benchmarks.random_model import SHAPES
from benchmarks.results import REPOSITORY, Row, run_child, write

COMPUTES = ("fp32", "int16", "int8", "bf16")
PRODUCTS = {"forward": "y = x·Wᵀ", "backward": "dx = dy·W"}


def rows_of(rows: int, found: dict[str, Any]) -> list[Row]:
    """A line for each product and program of one run of gemm_probe."""
    table: list[Row] = []
    for product, programs in found["seconds"].items():
        for name, seconds in programs.items():
            label = name if name.startswith("torch") else f"ours, {name}"
            row = {"rows": rows, "product": PRODUCTS[product], "": label}
            if isinstance(seconds, str):
                table.append({**row, "GFLOP/s": f"not run: {seconds}"})
                continue
            rate = found["flops"] / statistics.median(seconds)
            peer = programs["torch bf16" if name == "bf16" else "torch"]
            ratios = sorted(theirs / own for theirs, own in zip(peer, seconds, strict=True))
            row |= {"GFLOP/s": f"{rate / 1e9:.1f}", "of peak": f"{100 * rate / found['peak']:.0f} %"}
            row |= {"ours to torch": f"{statistics.median(ratios):.2f}", "from": f"{ratios[0]:.2f}"}
            row |= {"to": f"{ratios[-1]:.2f}", "turns": len(seconds)}
            table.append(row)
    return table


def _computes(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(value.split(","))
    if unknown := [name for name in chosen if name not in COMPUTES]:
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(COMPUTES)}")
    return chosen


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="1b", show_default=True)
@click.option("--rows", "all_rows", multiple=True, type=click.IntRange(1), default=(128, 256), show_default=True)
@click.option("--quant", type=click.Choice(["nf4", "int4"]), default="nf4", show_default=True)
@click.option("--compute", "computes", default=",".join(COMPUTES), callback=_computes, show_default=True, help="Ours.")
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True, help="Cap for both.")
@click.option("--threads", default=1, show_default=True)
@click.option("--turns", default=10, show_default=True)
@click.option(
    "--kernels",
    type=click.Path(path_type=Path),
    default=REPOSITORY / "build/host/kernels/libpocketlora_kernels.a",
    help="The kernels' static library, build/host's by default.",
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(
    shape: str,
    all_rows: tuple[int, ...],
    quant: str,
    computes: tuple[str, ...],
    isa: str,
    threads: int,
    turns: int,
    kernels: Path,
    output: Path,
) -> None:
    """Command line of this file."""
    cap = assert_cap(isa)
    options = ["--shape", shape, "--quant", quant, "--isa", isa, "--threads", threads, "--turns", turns]
    options += [part for name in computes for part in ("--compute", name)]
    table: list[Row] = []
    for rows in all_rows:
        child = run_child(
            "benchmarks.gemm_probe",
            *options,
            *("--rows", rows, "--kernels", kernels.resolve()),
            environment=capped_environment(isa),
        )
        found = json.loads(child.stdout.splitlines()[-1])
        table += rows_of(rows, found)
    what = (
        f"{shape}, {quant}, {threads} threads; ours with {found['ours']}, fp32 peak {found['peak'] / 1e9:.0f} GFLOP/s"
    )
    write(output, "gemm", f"4-bit products beside torch.matmul, {what}; {cap}", table)


if __name__ == "__main__":
    main()
