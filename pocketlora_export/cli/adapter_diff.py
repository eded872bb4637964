"""`adapter diff`: two adapters, module by module."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from pocketlora_export.adapters.products import ModuleDifference, differences
from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import facts, read_folder
from pocketlora_export.cli.options import PATH


@click.command(
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter diff out/monday out/tuesday\n"
    "  pocketlora-export adapter diff out/adapter out/adapter-mlx --json | jq .largest_relative_distance\n\n"
    "A distance is the Frobenius norm of the difference of scale·B·A, relative to the first adapter's norm: 0 means "
    "that both compute the same, however rank, alpha and format differ."
)
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@console.json_option("Print one JSON object.")
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare FIRST and SECOND, folders of PEFT or MLX-LM: their configs, and what each module adds to the weights."""
    one, two = read_folder(first), read_folder(second)
    modules = differences(one.adapter, two.adapter)
    before, after = facts(one), facts(two)
    config = {key: [before[key], after[key]] for key in before if before[key] != after[key]}
    if as_json:
        known = [module.relative for module in modules if module.relative is not None]
        largest = max(known) if known else None
        listed = [{**vars(module), "relative": module.relative} for module in modules]
        console.print_json({"config": config, "largest_relative_distance": largest, "modules": listed})
        return
    out = console.stdout()
    for key, (old, new) in config.items():
        out.print(f"{key.replace('_', ' ')}: {old} → {new}", markup=False)
    out.print(_table(modules))


def _table(modules: list[ModuleDifference]) -> Table:
    table = Table()
    for column in ("module", "first norm", "second norm", "relative distance"):
        table.add_column(column, no_wrap=column == "module")
    for module in modules:
        table.add_row(module.module, _text(module.first_norm), _text(module.second_norm), _text(module.relative))
    return table


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
