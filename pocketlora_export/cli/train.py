"""`train`: a LoRA adapter from text rows, by the C++ runtime."""

from __future__ import annotations

from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.options import PATH, bundle_argument, row_options, runtime_options
from pocketlora_export.cli.train_report import TrainReport
from pocketlora_export.cli.training import DEFAULT_RANK, TrainJob, run_job
from pocketlora_export.cli.values import SIZE, FiniteFloatRange, OptionsCommand
from pocketlora_export.runtime.session import COMPUTES

POSITIVE = click.IntRange(min=1)


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExample:\n"
    "  pocketlora-export train out/bundle --data notes.jsonl --output out/notes-adapter \\\n"
    "      --iters 200 --learning-rate 5e-4 --rank 8 --valid notes.valid.jsonl\n\n"
    'A row is {"text": ...}, {"messages": [...]} or another kind of docs/text-rows.md, one JSON object a line; with '
    '--loss dpo it is {"prompt": ..., "chosen": ..., "rejected": ...}. The '
    "adapter is written when all steps are done; Ctrl-C before that writes a checkpoint, where there is a folder for "
    "it, and nothing else.",
)
@bundle_argument
@click.option("--data", type=PATH, required=True, help="Training rows (JSONL).")
@click.option(
    "-o", "--output", type=PATH, required=True,
    help="Folder for the adapter, in PEFT's format, with where it comes from, the metrics of all steps, checksums.",
)  # fmt: skip
@click.option("--iters", type=POSITIVE, help="Optimizer steps.  [default: 100]")
@click.option("--epochs", type=FiniteFloatRange(min=0, min_open=True), help="Passes over the data, instead of --iters.")
@click.option("--learning-rate", type=FiniteFloatRange(min=0, min_open=True), default=1e-4, show_default=True)
@click.option(
    "--optimizer", type=click.Choice(["adamw", "adamw-8bit", "adafactor", "lion", "sgd"]), default="adamw",
    show_default=True, help="adamw-8bit keeps its moments in 8 bits, adafactor a number a row and a column.",
)  # fmt: skip
@click.option("--beta1", type=FiniteFloatRange(0, 1, max_open=True), help="Of adamw, adamw-8bit, lion.  [default: 0.9]")
@click.option(
    "--beta2", type=FiniteFloatRange(0, 1, max_open=True),
    help="Of adamw, adamw-8bit, lion.  [default: 0.999, of lion 0.99]",
)  # fmt: skip
@click.option("--momentum", type=FiniteFloatRange(min=0), default=0.0, show_default=True, help="Of sgd.")
@click.option(
    "--schedule", type=click.Choice(["constant", "linear", "cosine"]), default="constant", show_default=True,
    help="Of the learning rate; linear and cosine end at 0.",
)  # fmt: skip
@click.option(
    "--warmup-steps", type=click.IntRange(min=0), default=0, show_default=True,
    help="Steps over which the learning rate rises from 0.",
)  # fmt: skip
@click.option(
    "--max-grad-norm", type=FiniteFloatRange(min=0), default=0.0, show_default=True,
    help="Gradients with a larger norm are scaled down; 0 = never.",
)  # fmt: skip
@click.option(
    "--max-skipped-steps", type=click.IntRange(min=0), default=3, show_default=True,
    help="Steps in a row that may be left out because something was not finite.",
)  # fmt: skip
@click.option(
    "--loss", type=click.Choice(["sft", "dpo"]), default="sft", show_default=True,
    help="dpo: direct preference optimization of rows with a chosen and a rejected answer; its reference is the base, "
    "or the adapter of --init-adapter.",
)  # fmt: skip
@click.option(
    "--beta", type=FiniteFloatRange(min=0, min_open=True),
    help="Of dpo: how far rewards lead from the reference.  [default: 0.1]",
)  # fmt: skip
@click.option(
    "--label-smoothing", type=FiniteFloatRange(0, 0.5, max_open=True),
    help="Of dpo: how probable it is that answers are swapped.  [default: 0]",
)  # fmt: skip
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
@click.option("--patience", type=POSITIVE, metavar="N", help="Stop after N evaluations without improvement.")
@click.option(
    "--keep-best", is_flag=True, help="Save the adapter with the lowest held-out loss (--patience does, too)."
)
@click.option(
    "--checkpoint-dir", type=PATH,
    help="Folder of checkpoints: a training that was stopped, even killed, goes on from there with --resume.",
)  # fmt: skip
@click.option(
    "--checkpoint-every", type=POSITIVE, metavar="N", default=50, show_default=True, help="Steps between two."
)
@click.option("--keep", type=POSITIVE, metavar="K", default=2, show_default=True, help="Checkpoints that stay.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, or begin when there is none.")
@click.option(
    "--memory-limit", type=SIZE, metavar="SIZE",
    help="What training may allocate, e.g. 800MB: rows, activations, spilling are chosen to fit.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--activations", type=click.Choice(["auto", "fp32", "fp16", "bf16"]), default="auto", show_default=True,
    help="What the inputs of layers are kept as for the backward.",
)  # fmt: skip
@click.option(
    "--compute", type=click.Choice(COMPUTES), default="fp32", show_default=True,
    help="Products of the layers and the head: fp32, int16 (gradients a few 1e-4 off), int8 (3 % off, where the CPU "
    "multiplies bytes; elsewhere int16 for passes of more than 16 tokens), bf16 (where the CPU multiplies matrices of "
    "bf16; elsewhere int16), or the faster of the first two here.",
)  # fmt: skip
@click.option(
    "--recompute", type=click.Choice(["auto", "full", "selective"]), default="auto", show_default=True,
    help="What the backward computes again of a layer: all of it, or all but the MLP's gate and up, which are kept (a "
    "faster step, more memory). auto: full, and selective for the layers that --memory-limit has room for.",
)  # fmt: skip
@click.option("--scratch-dir", type=PATH, help="Where inputs of layers go that memory has no room for.")
@click.option(
    "--weights", type=click.Choice(["auto", "keep", "stream"]), default="auto", show_default=True,
    help="Pages of the base: kept, or read one layer ahead and released after use.",
)  # fmt: skip
@click.option("--verify-base", is_flag=True, help="Hash the base before and after training; a change is an error.")
@click.option(
    "--tensorboard", type=PATH, metavar="DIR",
    help="Also write the metrics there for TensorBoard.  [needs the extra `tensorboard`]",
)  # fmt: skip
@row_options
@click.option("--force", is_flag=True, help="Replace an adapter that is already in the output folder.")
@runtime_options
@console.json_option("Print events (docs/events.md) on stdout, one JSON object a line.")
def command(as_json: bool, **options: Any) -> None:
    """Train a LoRA adapter on BUNDLE with the C++ runtime."""
    run_job(TrainJob(**options), TrainReport(as_json))
