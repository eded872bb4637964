"""`adapter merge`: an adapter becomes part of the weights of an ordinary Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import read_folder
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.options import PATH
from pocketlora_export.cli.quiet import quiet_imports
from pocketlora_export.cli.values import OptionsCommand


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter merge models/llama-1b out/adapter -o out/llama-1b-notes\n"
    "  pocketlora-export dequantize out/bundle -o out/base && \\\n"
    "  pocketlora-export adapter merge out/base out/adapter -o out/merged\n\n"
    "The adapter was trained over the 4-bit base: merged into the dequantized base it computes what the runtime "
    "computes, merged into the original weights it comes close.",
)
@click.argument("model", type=PATH)
@click.argument("adapter", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write: same files, shards and dtypes.")
@click.option("--force", is_flag=True, help="Replace an existing model folder.")
@console.json_option("Print what was written as one JSON object.")
def command(model: Path, adapter: Path, output: Path, force: bool, as_json: bool) -> None:
    """Merge ADAPTER into MODEL, a Hugging Face folder with safetensors weights."""
    found = read_folder(adapter)
    quiet_imports()
    from pocketlora_export.adapters.merge import merge_adapter

    with bar() as progress:
        merged = merge_adapter(model, found.adapter, output, force, progress.report)
    if as_json:
        console.print_json({"output": str(output), "merged_matrices": merged})
    console.note(f"{output}: {merged} matrices merged")
