"""`report tensorboard`: the metrics of a finished training, for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import click

from pocketlora_export.adapters.artifact import METRICS_NAME, read_events
from pocketlora_export.cli import console
from pocketlora_export.cli.options import PATH
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.report.tensorboard import TensorBoardWriter


@click.command(
    epilog="\b\nExample:\n"
    "  pocketlora-export report tensorboard out/notes-adapter -o runs/notes && tensorboard --logdir runs\n\n"
    "Needs the extra `tensorboard`: pip install 'pocketlora-export[tensorboard]'."
)
@click.argument("artifact", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="A new or empty folder for TensorBoard's events.")
@console.json_option("Print one JSON object on stdout.")
def command(artifact: Path, output: Path, as_json: bool) -> None:
    """Write the metrics of ARTIFACT, a folder that `train` made, for TensorBoard."""
    events = read_events(artifact / METRICS_NAME)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        message = f"output {output}: expected a new or empty folder: TensorBoard would mix two runs in one"
        raise PocketLoraError(Status.INVALID_ARGUMENT, message)
    with TensorBoardWriter(output) as writer:
        taken = writer.add_all(events)
    if as_json:
        console.print_json({"artifact": str(artifact), "output": str(output), "events": taken})
    else:
        console.note(f"{taken} events of {artifact} written to {output}")
