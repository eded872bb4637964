"""`dequantize`: the base as the phone sees it, as an ordinary Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.quiet import quiet_imports

EXAMPLES = """\b
Examples:
  pocketlora-export dequantize out/pocket -o out/pocket-hf
  lm_eval --model hf --model_args pretrained=out/pocket-hf --tasks hellaswag
"""


@click.command(epilog=EXAMPLES)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", show_default=True,
              help="float32 is exact; the others are rounded.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing model folder.")
def command(bundle: Path, output: Path, dtype: str, force: bool) -> None:
    """Write a bundle's base back as an ordinary Hugging Face folder: config, tokenizer, safetensors."""
    quiet_imports()
    from pocketlora_export.bundle.dequantize import dequantize_bundle

    with bar() as progress:
        dequantize_bundle(bundle, output, dtype, force, progress.report)
    console.note(f"{output}: written in {dtype}")
