"""`report`: what a training left behind, for other tools."""

from __future__ import annotations

import click

from pocketlora_export.cli.main import LazyGroup

COMMANDS = {
    "tensorboard": "The metrics of a training run's folder, as TensorBoard reads them.",
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    module="pocketlora_export.cli.report_{}",
    epilog="Run 'pocketlora-export report COMMAND --help' for the options and an example.",
)
def command() -> None:
    """Turn what a training left behind into what other tools read."""
