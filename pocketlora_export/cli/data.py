"""`data`: what happens to text before it is trained on."""

from __future__ import annotations

import click

from pocketlora_export.cli.main import LazyGroup

# name -> one line of help. The module is pocketlora_export.cli.data_<name>.
COMMANDS = {
    "prepare": "Turn data sets into rows for training: read, clean, remove repetitions, split, pack.",
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    module="pocketlora_export.cli.data_{}",
    epilog="\b\nExample:\n"
    "  pocketlora-export data prepare questions.csv -o out/data --template alpaca\n\n"
    "Run 'pocketlora-export data COMMAND --help' for the options of each command.",
)
def command() -> None:
    """Text and conversations from elsewhere, made ready for training."""
