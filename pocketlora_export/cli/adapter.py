"""`adapter`: what comes in from other tools and goes out to them, and what an adapter holds."""

from __future__ import annotations

import click

from pocketlora_export.cli.main import LazyGroup

# name -> one line of help. The module is pocketlora_export.cli.adapter_<name>.
COMMANDS = {
    "import": "Take over an adapter from PEFT or MLX-LM, checked against a bundle.",
    "export": "Write an adapter for PEFT, MLX-LM or llama.cpp (GGUF).",
    "merge": "Merge an adapter into the full-precision weights of a Hugging Face folder.",
    "inspect": "Show what an adapter holds: rank, alpha, modules, norms.",
    "list": "List the adapters of a folder.",
    "diff": "Compare two adapters, module by module.",
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    module="pocketlora_export.cli.adapter_{}",
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter import downloads/adapter -o out/adapter --bundle out/bundle\n"
    "  pocketlora-export adapter export out/adapter --format gguf --bundle out/bundle -o out/adapter.gguf\n\n"
    "Run 'pocketlora-export adapter COMMAND --help' for the options of each command.",
)
def command() -> None:
    """Adapters from other tools, for other tools, and what they hold."""
