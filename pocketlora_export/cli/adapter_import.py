"""`adapter import`: a folder of PEFT or MLX-LM becomes a PEFT folder that the runtime loads."""

from __future__ import annotations

from pathlib import Path

import click

from pocketlora_export.adapters.fit import check_fit
from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.adapters.peft_folder import write_peft
from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import AdapterFolder, facts, read_folder
from pocketlora_export.cli.options import PATH
from pocketlora_export.cli.values import OptionsCommand


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter import downloads/peft-adapter -o out/adapter --bundle out/bundle\n"
    "  pocketlora-export adapter import mlx/adapters -o out/adapter\n\n"
    "Tensors keep their values and dtypes. Regular expressions in a PEFT config become the names that they stand for. "
    "docs/adapters.md lists what is supported.",
)
@click.argument("adapter", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write, in PEFT's format.")
@click.option("--bundle", type=PATH, help="Check names, shapes and ranks against this bundle.")
@click.option("--force", is_flag=True, help="Replace an adapter that is already in the output folder.")
@console.json_option("Print what was imported as one JSON object.")
def command(adapter: Path, output: Path, bundle: Path | None, force: bool, as_json: bool) -> None:
    """Take over ADAPTER, a folder of PEFT or MLX-LM, for the runtime."""
    check_output(output, force=force, bundle=bundle)
    found = read_folder(adapter)
    if bundle is not None:
        check_fit(found.adapter, bundle, found.config)
    save_adapter(_Folder(found), output)
    if as_json:
        console.print_json({"output": str(output), "checked_against": str(bundle) if bundle else None, **facts(found)})
    modules, checked = len(found.adapter.sites), f", checked against {bundle}" if bundle else ""
    console.note(f"{output}: {modules} modules of rank {found.adapter.rank} from {found.format}{checked}")


class _Folder:
    """Writes what was read as a PEFT folder."""

    def __init__(self, found: AdapterFolder) -> None:
        self._found = found

    def save(self, directory: Path) -> None:
        """Write the folder's files."""
        write_peft(self._found.adapter, directory, self._found.document)
