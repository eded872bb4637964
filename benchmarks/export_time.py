"""Export time of known shapes from random weights, and of lowering alone for two depths of the same block.

Every measurement runs in a process of its own. The source is out of the page cache when an export begins. Lowering
needs no weights, so its time is measured without them; the runs of both depths alternate, and medians are compared.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.random_model import SHAPES, config_of, write_random_model
from benchmarks.results import megabytes, run_child, write

THIS = "benchmarks.export_time"
# Lowering must not grow with depth; this much is the noise of a machine.
LARGEST_RATIO = 1.2


def lower_only(config: dict[str, Any], out: Path) -> dict[str, float]:
    """Lower a configuration to train.pte and infer.pte; wall and CPU seconds without imports."""
    from pocketlora_export.families.registry import decoder_model
    from pocketlora_export.graphs.stage import Limits
    from pocketlora_export.graphs.weights import Quantization, QuantScheme
    from pocketlora_export.lower.model import lower_model

    model = decoder_model(config, "random")
    nf4 = QuantScheme("nf4", 64)
    targets = model.modules()
    limits = Limits(max_seq_len=512, train_t_max=256, prefill_t_max=256, max_rank=16, max_segments=64)
    start, cpu = time.perf_counter(), time.process_time()
    decoder = model.decoder(Quantization(nf4, nf4, nf4), targets, limits.max_seq_len)
    lower_model(decoder, model.sites(targets), limits, "cpu", out)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def measure_lowering(shape: str, layers: int | None) -> dict[str, float]:
    """Wall and CPU seconds of lowering in a fresh process."""
    arguments = ["lower", "--shape", shape]
    if layers is not None:
        arguments += ["--layers", str(layers)]
    found: dict[str, float] = json.loads(run_child(THIS, *arguments).stdout.splitlines()[-1])
    return found


def leave_page_cache(folder: Path) -> None:
    """Write a folder's files out and drop their pages, so that they are read from the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_export(model: Path, bundle: Path, shape: str, options: Sequence[str]) -> dict[str, Any]:
    """The whole `bundle` command on random weights: wall time, its phases, peak memory (VmHWM, file pages included)."""
    if not (model / "config.json").is_file():
        write_random_model(model, shape)
    leave_page_cache(model)
    command = ("bundle", "-m", model, "-o", bundle, "--quant", "nf4", "--force", "--no-resume", "--json", *options)
    done = run_child("pocketlora_export", *command)
    phases = json.loads(done.stdout.splitlines()[-1])["seconds"]
    source = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    return {
        "shape": shape,
        "wall s": f"{done.seconds:.1f}",
        **{f"{phase} s": f"{seconds:.1f}" for phase, seconds in phases.items()},
        "start, imports, end s": f"{done.seconds - sum(phases.values()):.1f}",
        "CPU s": f"{done.cpu_seconds:.1f}",
        "VmHWM MB": megabytes(done.peak_rss),
        "source MB": megabytes(source),
        "base.ptd MB": megabytes((bundle / "base.ptd").stat().st_size),
        "source MB/s": megabytes(source / phases["quantize"]),
    }


def measure_depths(shape: str, depths: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Lowering time of two depths, alternating; medians. CPU time is compared: other work does not count as ours."""
    runs: dict[int, list[dict[str, float]]] = {depth: [] for depth in depths}
    for _ in range(repeats):
        for depth in depths:
            runs[depth].append(measure_lowering(shape, depth))
    rows: list[dict[str, Any]] = []
    medians = {depth: statistics.median(run["cpu_seconds"] for run in found) for depth, found in runs.items()}
    for depth, found in runs.items():
        rows.append(
            {
                "shape": shape,
                "layers": depth,
                "runs": repeats,
                "wall s (median)": f"{statistics.median(run['seconds'] for run in found):.2f}",
                "CPU s (median)": f"{medians[depth]:.2f}",
                "CPU s (all)": ", ".join(f"{run['cpu_seconds']:.2f}" for run in found),
                f"CPU ratio to {depths[0]} layers": f"{medians[depth] / medians[depths[0]]:.3f}",
            }
        )
    return rows


@click.group(help=__doc__, invoke_without_command=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
@click.option("--shapes", default="135m,1b", show_default=True, help="Shapes to export; empty for none.")
@click.option("--models", type=click.Path(path_type=Path), help="Folder of models by shape; missing ones are written.")
@click.option("--bundles", type=click.Path(path_type=Path), help="Leave the bundles here, as SHAPE-b.")
@click.option("--options", default="", help="More options of `bundle`, as one string.")
@click.option("--depths", default="4,80", show_default=True, help="Two numbers of layers; empty for none.")
@click.option("--depth-shape", type=click.Choice(SHAPES), default="135m", show_default=True)
@click.option("--repeats", default=5, show_default=True, help="Runs of each depth.")
@click.pass_context
def main(
    context: click.Context,
    output: Path,
    shapes: str,
    models: Path | None,
    bundles: Path | None,
    options: str,
    depths: str,
    depth_shape: str,
    repeats: int,
) -> None:
    """Command line of this file."""
    if context.invoked_subcommand is not None:
        return
    if shapes:
        rows = _exports(shapes.split(","), models, bundles, shlex.split(options))
        write(output, "export_time", f"Export time, random weights, NF4, two programs {options}".rstrip(), rows)
    if depths:
        _compare_depths(output, depth_shape, depths, repeats)


def _exports(
    shapes: Sequence[str], models: Path | None, bundles: Path | None, options: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
            model, bundle = (models or Path(work)) / shape, (bundles or Path(work)) / f"{shape}-b"
            rows.append(measure_export(model, bundle, shape, options))
    return rows


def _compare_depths(output: Path, shape: str, depths: str, repeats: int) -> None:
    shallow, deep = (int(depth) for depth in depths.split(","))
    rows = measure_depths(shape, (shallow, deep), repeats)
    write(output, "lowering_depth", "Lowering time and depth", rows)
    ratio = float(rows[-1][f"CPU ratio to {shallow} layers"])
    if not 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
        raise click.ClickException(f"lowering depends on depth: {ratio} times the time for {deep} layers")


@main.command("lower", hidden=True)
@click.option("--shape", type=click.Choice(SHAPES), required=True)
@click.option("--layers", type=int)
def lower_command(shape: str, layers: int | None) -> None:
    """Lower once and print the seconds as JSON."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as out:
        click.echo(json.dumps(lower_only(config_of(shape, layers), Path(out))))


if __name__ == "__main__":
    main()
