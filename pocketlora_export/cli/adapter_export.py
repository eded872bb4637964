"""`adapter export`: an adapter for PEFT, MLX-LM or llama.cpp."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from pocketlora_export.adapters.gguf_file import (
    BaseFacts,
    GgufAdapter,
    facts_of_bundle,
    facts_of_model,
    gguf_package,
    to_gguf,
    write_gguf,
)
from pocketlora_export.adapters.lora import LoraAdapter
from pocketlora_export.adapters.mlx_folder import write_mlx
from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.adapters.peft_folder import write_peft
from pocketlora_export.bundle.files import sync
from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import read_folder
from pocketlora_export.cli.options import PATH
from pocketlora_export.cli.values import OptionsCommand
from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter export out/adapter --format gguf --bundle out/bundle -o out/adapter.gguf\n"
    "  pocketlora-export adapter export out/adapter --format mlx -o out/adapter-mlx\n\n"
    "GGUF needs the architecture of the base: from --bundle, or from a Hugging Face folder with --base. llama.cpp "
    "loads the file with --lora.",
)
@click.argument("adapter", type=PATH)
@click.option("--format", "form", type=click.Choice(["peft", "mlx", "gguf"]), required=True, help="What to write.")
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write; for gguf: file to write.")
@click.option("--bundle", type=PATH, help="gguf: a bundle of the adapter's base model.")
@click.option("--base", type=PATH, help="gguf: a Hugging Face folder of the adapter's base model; its config is read.")
@click.option("--force", is_flag=True, help="Replace what is already there.")
@console.json_option("Print what was written as one JSON object.")
def command(
    adapter: Path, form: str, output: Path, bundle: Path | None, base: Path | None, force: bool, as_json: bool
) -> None:
    """Write ADAPTER, a folder of PEFT or MLX-LM, in another tool's format."""
    if form == "gguf":
        changes = _export_gguf(adapter, output, bundle, base, force)
    else:
        check_output(output, force=force, bundle=bundle)
        writer = _Folder(read_folder(adapter).adapter, form)
        save_adapter(writer, output)
        changes = writer.changes
    for line in changes:
        console.note(line)
    if as_json:
        console.print_json({"output": str(output), "format": form, "changes": changes})
    console.note(f"{output}: written as {form}")


class _Folder:
    """Writes a folder of PEFT or MLX-LM; `changes` says what had to become another way of writing the same."""

    def __init__(self, adapter: LoraAdapter, form: str) -> None:
        self.changes: list[str] = []
        self._adapter = adapter
        self._form = form

    def save(self, directory: Path) -> None:
        """Write the folder's files."""
        if self._form == "mlx":
            self.changes = write_mlx(self._adapter, directory)
        else:
            write_peft(self._adapter, directory)


def _export_gguf(adapter: Path, output: Path, bundle: Path | None, base: Path | None, force: bool) -> list[str]:
    gguf_package()
    facts = _base_facts(bundle, base)
    if output.is_dir():
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output}: expected a file, found a folder")
    if output.exists() and not force:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output} exists; choose another name, or use --force")
    found = read_folder(adapter).adapter
    converted = to_gguf(found, facts)
    _write_file(converted, output)
    return [
        f"{name}: scale {site.scale:g} was folded into lora_b"
        for name, site in found.sites.items()
        if abs(site.scale * site.rank - converted.alpha) > 1e-6 * abs(converted.alpha)
    ]


def _base_facts(bundle: Path | None, base: Path | None) -> BaseFacts:
    if (bundle is None) == (base is None):
        raise PocketLoraError(Status.INVALID_ARGUMENT, "--format gguf needs either --bundle or --base")
    return facts_of_bundle(bundle) if bundle is not None else facts_of_model(base or Path())


def _write_file(adapter: GgufAdapter, output: Path) -> None:
    """The file appears under its name complete and durable, or not at all."""
    final = output.resolve()
    fresh = final.with_name(f".{final.name}.{os.getpid()}.new")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(adapter, fresh)
        fresh.replace(final)
        sync(final.parent)
    except OSError as error:
        status = status_of_os_error(error)
        status = status if status in (Status.DISK_FULL, Status.OUT_OF_MEMORY) else Status.IO_WRITE
        raise PocketLoraError(status, f"output {output} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()
