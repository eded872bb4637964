"""`adapter list`: the adapters of a folder."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from pocketlora_export.adapters.output import ADAPTER_FILES
from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import facts, read_folder
from pocketlora_export.cli.options import PATH
from pocketlora_export.errors import PocketLoraError, Status

HASH_DIGITS = 12


@click.command(
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter list out\n"
    "  pocketlora-export adapter list out --json | jq '.adapters[] | select(.problem == null) | .path'\n\n"
    "Looked at are the folder itself and the folders in it. An adapter that cannot be read is listed with its problem."
)
@click.argument("folder", type=PATH)
@console.json_option("Print one JSON object.")
def command(folder: Path, as_json: bool) -> None:
    """List the adapters in FOLDER: format, rank, alpha, modules, parameters and base of each."""
    if not folder.is_dir():
        raise PocketLoraError(Status.INPUT_MISSING, f"{folder}: no such folder")
    rows = [_row(path) for path in _adapter_folders(folder)]
    if as_json:
        console.print_json({"folder": str(folder), "adapters": rows})
    elif rows:
        console.stdout().print(_table(rows))
    if not rows:
        console.note(f"{folder}: no adapters")


def _adapter_folders(folder: Path) -> list[Path]:
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [place for place in places if any((place / name).is_file() for name in ADAPTER_FILES)]


def _row(path: Path) -> dict[str, object]:
    try:
        return {"path": str(path), "problem": None, **facts(read_folder(path))}
    except PocketLoraError as error:
        problem = {"code": int(error.status), "name": error.status.name, "message": str(error)}
        return {"path": str(path), "problem": problem}


def _table(rows: list[dict[str, object]]) -> Table:
    table = Table()
    for column in ("adapter", "format", "rank", "alpha", "modules", "parameters", "base"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(escape(Path(str(row["path"])).name), *map(escape, _cells(row)))
    return table


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    problem = row["problem"]
    if isinstance(problem, dict):
        return (f"{problem['name']}: {str(problem['message']).splitlines()[0]}",)
    modules = row["target_modules"]
    names = ", ".join(modules) if isinstance(modules, list) else ""
    base = str(row["base_sha256"] or "unknown")[:HASH_DIGITS]
    numbers = (str(row["rank"]), f"{row['alpha']:g}")
    return str(row["format"]), *numbers, f"{row['modules']} ({names})", f"{row['parameters']:,}", base
