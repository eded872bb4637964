"""Export time of known shapes from random weights, and of lowering alone for 4 and 32 layers of the same block.

Every measurement runs in a process of its own. Lowering needs no weights, so its time is measured without them.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.random_model import SHAPES, config_of, write_random_model
from benchmarks.results import megabytes, run_child, write

THIS = "benchmarks.export_time"
# Lowering must not grow with depth; this much is the noise of a machine.
LARGEST_RATIO = 1.2


def lower_only(config: dict[str, Any], out: Path) -> float:
    """Lower a configuration to train.pte and infer.pte; seconds without imports."""
    from pocketlora_export.families.base import Quantization, QuantScheme
    from pocketlora_export.families.registry import get_family
    from pocketlora_export.graphs.stage import Limits
    from pocketlora_export.lower.model import lower_model

    family = get_family(config)
    facts = family.facts(config, "random")
    nf4 = QuantScheme("nf4", 64)
    targets = family.modules(facts)
    limits = Limits(max_seq_len=512, train_t_max=256, prefill_t_max=256, max_rank=16, max_segments=64)
    start = time.perf_counter()
    decoder = family.decoder(facts, Quantization(nf4, nf4, nf4), targets)
    lower_model(decoder, family.sites(facts, targets), limits, "cpu", out)
    return time.perf_counter() - start


def measure_lowering(shape: str, layers: int | None) -> float:
    """Seconds of lowering in a fresh process."""
    arguments = ["lower", "--shape", shape]
    if layers is not None:
        arguments += ["--layers", str(layers)]
    return float(json.loads(run_child(THIS, *arguments).stdout.splitlines()[-1])["seconds"])


def measure_export(shape: str, work: Path) -> dict[str, Any]:
    """The whole `bundle` command on random weights: wall time, its phases, peak memory."""
    write_random_model(work / "model", shape)
    command = ("bundle", "-m", work / "model", "-o", work / "bundle", "--quant", "nf4", "--json")
    done = run_child("pocketlora_export", *command)
    phases = json.loads(done.stdout)["seconds"]
    base = (work / "bundle" / "base.ptd").stat().st_size
    return {
        "shape": shape,
        "wall s": f"{done.seconds:.1f}",
        "quantize s": f"{phases['quantize']:.1f}",
        "lower s": f"{phases['lower']:.1f}",
        "imports and the rest s": f"{done.seconds - phases['quantize'] - phases['lower']:.1f}",
        "peak RSS MB": megabytes(done.peak_rss),
        "base.ptd MB": megabytes(base),
    }


def measure_depths(shape: str, depths: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Lowering time of two depths, alternating; medians."""
    seconds: dict[int, list[float]] = {depth: [] for depth in depths}
    for _ in range(repeats):
        for depth in depths:
            seconds[depth].append(measure_lowering(shape, depth))
    medians = {depth: statistics.median(times) for depth, times in seconds.items()}
    first = medians[depths[0]]
    return [
        {"shape": shape, "layers": d, "lowering s": f"{m:.2f}", f"ratio to {depths[0]} layers": f"{m / first:.3f}"}
        for d, m in medians.items()
    ]


@click.group(help=__doc__, invoke_without_command=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
@click.option("--shapes", default="135m,1b", show_default=True)
@click.option("--repeats", default=3, show_default=True, help="Runs of each depth.")
@click.pass_context
def main(context: click.Context, output: Path, shapes: str, repeats: int) -> None:
    """Command line of this file."""
    if context.invoked_subcommand is not None:
        return
    depths = measure_depths("135m", (4, 32), repeats)
    write(output, "lowering_depth", "Lowering time and depth", depths)
    rows = []
    for shape in shapes.split(","):
        with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
            rows.append(measure_export(shape, Path(work)))
    write(output, "export_time", "Export time, random weights, NF4, two programs", rows)
    ratio = float(depths[-1]["ratio to 4 layers"])
    if ratio > LARGEST_RATIO:
        raise click.ClickException(f"lowering grows with depth: {ratio} times the time at 8 times the layers")


@main.command("lower", hidden=True)
@click.option("--shape", type=click.Choice(SHAPES), required=True)
@click.option("--layers", type=int)
def lower_command(shape: str, layers: int | None) -> None:
    """Lower once and print the seconds as JSON."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as out:
        seconds = lower_only(config_of(shape, layers), Path(out))
    click.echo(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
