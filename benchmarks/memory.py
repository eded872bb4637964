"""Memory of a training run beside the bundle's own plan, on random weights in the shape of a known model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.random_model import SHAPES, write_random_model
from benchmarks.results import megabytes, run_child, write

# Part of the plan -> part of the runtime's account.
PARTS = {
    "arena_train": "arena",
    "block_inputs": "block_inputs",
    "adapter": "adapter",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "scratch": "scratch",
}


def make_bundle(shape: str, work: Path) -> Path:
    """A bundle of random weights."""
    write_random_model(work / "model", shape)
    run_child("pocketlora_export", "bundle", "-m", work / "model", "-o", work / "bundle", "--quant", "nf4")
    return work / "bundle"


def compare(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a part: the plan, what the runtime allocated; then what the kernel says."""
    plan, memory = found["plan"], found["memory"]
    rows = [_row(name, plan[name], memory[part]) for name, part in PARTS.items()]
    rows.append(_row("sum", sum(plan[name] for name in PARTS), sum(memory[part] for part in PARTS.values())))
    rows.append(_row("everything the runtime counted", None, memory["rss_anon"] - memory["unexplained"]))
    rows.append(_row("RssAnon, whole process with Python", None, memory["rss_anon"]))
    rows.append(_row("RssAnon when the bundle was opened", None, found["opened"]["rss_anon"]))
    rows.append(_row("RssFile", None, memory["rss_file"]))
    rows.append(_row("base.ptd resident", None, memory["base_resident"]))
    rows.append(_row("base.ptd private dirty", None, memory["base_private_dirty"]))
    return rows


def _row(name: str, planned: int | None, measured: int) -> dict[str, str]:
    return {"part": name, "plan MB": "" if planned is None else megabytes(planned), "measured MB": megabytes(measured)}


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="135m", show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), help="An existing bundle instead of random weights.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(shape: str, bundle: Path | None, output: Path) -> None:
    """Command line of this file."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        place = bundle or make_bundle(shape, Path(work))
        found = json.loads(run_child("benchmarks.train_probe", place).stdout)
    title = f"Training memory, {bundle or shape}, {found['rows']} rows, rank {found['rank']}"
    write(output, "memory", title, compare(found))


if __name__ == "__main__":
    main()
