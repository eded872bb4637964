"""Backends of one bundle side by side: a training step, prefill, decode, memory; alternating processes, medians."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.random_model import SHAPES, write_random_model
from benchmarks.results import megabytes, run_child, write

Found = dict[str, list[dict[str, Any]]]


def make_bundle(model: Path, work: Path, backends: tuple[str, ...]) -> Path:
    """A bundle with the programs of all backends over one base."""
    named = [part for name in backends for part in ("--backend", name)]
    run_child("pocketlora_export", "bundle", "-m", model, "-o", work / "bundle", "--quant", "nf4", *named)
    return work / "bundle"


def measure(bundle: Path, rows: int, rank: int, steps: int, repeats: int) -> tuple[Found, Found]:
    """Training and generation of each backend, in turn; every run is a fresh process with one thread."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    backends = list(dict.fromkeys(program["backend"] for program in manifest["programs"]))
    training: Found = {name: [] for name in backends}
    generation: Found = {name: [] for name in backends}
    for _ in range(repeats):
        for name in backends:
            step = ("--rows", rows, "--rank", rank, "--steps", steps, "--backend", name)
            training[name].append(_last_line(run_child("benchmarks.train_probe", bundle, *step).stdout))
        for name in backends:
            text = ("--prompt", rows, "--backend", name)
            generation[name].append(_last_line(run_child("benchmarks.generate_probe", bundle, *text).stdout))
    return training, generation


def _last_line(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def _median(values: list[float]) -> float:
    return statistics.median(values)


def row_of(name: str, rows: int, training: list[dict[str, Any]], generation: list[dict[str, Any]]) -> dict[str, str]:
    """Medians of one backend. `not counted`: RssAnon after training beyond opening, less what the accounts have."""
    memory = [run["memory"] for run in training]
    own = [m["unexplained"] - run["opened"]["unexplained"] for m, run in zip(memory, training, strict=True)]
    return {
        "": name,
        "s/step": f"{_median([run['seconds'] for run in training]):.3f}",
        "prefill tok/s": f"{rows / _median([run['prefill'] for run in generation]):.1f}",
        "decode tok/s": f"{1 / _median([run['seconds'] for run in generation]):.1f}",
        "training RssAnon MB": megabytes(_median([m["rss_anon"] for m in memory])),
        "counted MB": megabytes(_median([m["rss_anon"] - m["unexplained"] for m in memory])),
        "not counted MB": megabytes(_median(own)),
        "RssFile MB": megabytes(_median([m["rss_file"] for m in memory])),
    }


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--shape", type=click.Choice(SHAPES), default="135m", show_default=True, help="Random weights, no MODEL.")
@click.option("--bundle", type=click.Path(path_type=Path), help="A bundle that has the programs of several backends.")
@click.option("--backends", default="cpu,xnnpack", show_default=True)
@click.option("--rows", default=128, show_default=True, help="Of a step and of the prompt.")
@click.option("--rank", default=16, show_default=True)
@click.option("--steps", default=3, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(
    model: Path | None,
    shape: str,
    bundle: Path | None,
    backends: str,
    rows: int,
    rank: int,
    steps: int,
    repeats: int,
    output: Path,
) -> None:
    """Command line of this file."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        place = bundle
        if place is None:
            if model is None:
                model = Path(work) / "model"
                write_random_model(model, shape)
            place = make_bundle(model, Path(work), tuple(backends.split(",")))
        training, generation = measure(place, rows, rank, steps, repeats)
    table = [row_of(name, rows, training[name], generation[name]) for name in training]
    title = f"Backends, {bundle or model or shape}, {rows} rows, rank {rank}, one thread, median of {repeats} processes"
    write(output, "backends", title, table)


if __name__ == "__main__":
    main()
