"""`train`: a LoRA adapter from text rows, by the C++ runtime."""

from __future__ import annotations

from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.options import PATH, bundle_argument, row_options, runtime_options
from pocketlora_export.cli.train_report import TrainReport
from pocketlora_export.cli.training import DEFAULT_RANK, TrainJob, run_job
from pocketlora_export.cli.values import SIZE, FiniteFloatRange, OptionsCommand

POSITIVE = click.IntRange(min=1)


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExample:\n"
    "  pocketlora-export train out/bundle --data notes.jsonl --output out/notes-adapter \\\n"
    "      --iters 200 --learning-rate 5e-4 --rank 8 --valid notes.valid.jsonl\n\n"
    'A row is {"text": ...} or {"messages": [...]}, one JSON object a line. The adapter is written when all steps are '
    "done; Ctrl-C before that writes nothing.",
)
@bundle_argument
@click.option("--data", type=PATH, required=True, help="Training rows (JSONL).")
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the adapter, in PEFT's format.")
@click.option("--iters", type=POSITIVE, default=100, show_default=True, help="Optimizer steps.")
@click.option("--learning-rate", type=FiniteFloatRange(min=0, min_open=True), default=1e-4, show_default=True)
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), default="adamw", show_default=True)
@click.option(
    "--batch-size",
    type=POSITIVE,
    default=4,
    show_default=True,
    help="Rows of a micro-batch; split where they do not fit.",
)
@click.option(
    "--grad-accumulation-steps", type=POSITIVE, default=1, show_default=True, help="Micro-batches of an optimizer step."
)
@click.option("--rank", type=POSITIVE, help=f"LoRA rank, at most the bundle's.  [default: {DEFAULT_RANK}]")
@click.option("--alpha", type=FiniteFloatRange(min=0, min_open=True), help="Scale: alpha / rank.  [default: 2 x rank]")
@click.option(
    "--target-modules",
    metavar="NAME,...",
    help="Linear layers that get an adapter, or `attention`.  [default: all-linear]",
)
@click.option("--dropout", type=FiniteFloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--weight-decay", type=FiniteFloatRange(min=0), default=0.0, show_default=True)
@click.option("--init-adapter", type=PATH, help="Go on from this PEFT folder, with its rank, alpha and modules.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the start, order and dropout."
)
@click.option("--valid", type=PATH, help="Held-out rows (JSONL): evaluated before and after.")
@click.option("--eval-every", type=POSITIVE, metavar="N", help="Evaluate the held-out rows every N steps as well.")
@click.option(
    "--memory-limit", type=SIZE, metavar="SIZE",
    help="What training may allocate, e.g. 800MB: rows, activations, spilling are chosen to fit.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--activations", type=click.Choice(["auto", "fp32", "fp16", "bf16"]), default="auto", show_default=True,
    help="What the inputs of layers are kept as for the backward.",
)  # fmt: skip
@click.option("--scratch-dir", type=PATH, help="Where inputs of layers go that memory has no room for.")
@click.option(
    "--weights", type=click.Choice(["auto", "keep", "stream"]), default="auto", show_default=True,
    help="Pages of the base: kept, or read one layer ahead and released after use.",
)  # fmt: skip
@row_options
@click.option("--force", is_flag=True, help="Replace an adapter that is already in the output folder.")
@runtime_options
@console.json_option("Print events (docs/events.md) on stdout, one JSON object a line.")
def command(as_json: bool, **options: Any) -> None:
    """Train a LoRA adapter on BUNDLE with the C++ runtime."""
    run_job(TrainJob(**options), TrainReport(as_json))
