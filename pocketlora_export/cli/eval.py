"""`eval`: loss, perplexity and log-probabilities of text rows, by the C++ runtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_weights import adapters_option
from pocketlora_export.cli.options import (
    PATH,
    bundle_argument,
    load_rows,
    opened_adapters,
    pack_limits,
    row_options,
    runtime_options,
)
from pocketlora_export.data.packing import MicroBatch, pack
from pocketlora_export.evaluate.metrics import Metrics, RowLogprobs, evaluate
from pocketlora_export.runtime import Engine
from pocketlora_export.runtime.engine import AdapterSet


@click.command(
    epilog="\b\nExample:\n"
    "  pocketlora-export eval out/bundle --data notes.valid.jsonl --adapter out/notes-adapter\n"
    "  pocketlora-export eval out/bundle --data notes.valid.jsonl --logprobs --json\n\n"
    "Loss (natural logarithm) and perplexity are over unmasked tokens."
)
@bundle_argument
@click.option("--data", type=PATH, required=True, help="Rows to evaluate (JSONL).")
@adapters_option
@click.option("--logprobs", is_flag=True, help="Also print the log-probability of every token.")
@row_options
@runtime_options
@console.json_option()
def command(bundle: Path, data: Path, logprobs: bool, as_json: bool, **options: Any) -> None:
    """Loss and perplexity of text rows on BUNDLE."""
    with Engine(bundle, backend=options["backend"], num_threads=options["threads"]) as engine:
        rows = load_rows(engine, bundle, data, truncate=options["truncate"], train_on_prompt=options["train_on_prompt"])
        batches = pack(rows.rows, pack_limits(engine))
        with opened_adapters(engine, options["adapters"]) as adapters:
            metrics = _evaluate(engine, batches, adapters, logprobs)
    if as_json:
        console.print_json(_as_json(metrics, logprobs))
    else:
        _print(metrics, logprobs)


def _evaluate(engine: Engine, batches: list[MicroBatch], adapters: AdapterSet, logprobs: bool) -> Metrics:
    with console.progress() as bar:
        task = bar.add_task("evaluating", total=len(batches), status="")

        def forward(batch: MicroBatch) -> Any:
            result = engine.evaluate(batch, adapters, logprobs=logprobs)
            bar.advance(task)
            return result

        return evaluate(batches, forward)


def _as_json(metrics: Metrics, logprobs: bool) -> dict[str, object]:
    result: dict[str, object] = {
        "loss": console.finite(metrics.loss),
        "perplexity": console.finite(metrics.perplexity),
        "tokens": metrics.tokens,
    }
    if logprobs:
        result["rows"] = [_row_json(row) for row in metrics.rows]
    return result


def _row_json(row: RowLogprobs) -> dict[str, object]:
    values = [None if value is None else console.finite(value) for value in row.logprobs]
    return {"token_ids": row.token_ids, "logprobs": values}


def _print(metrics: Metrics, logprobs: bool) -> None:
    if logprobs:
        for number, row in enumerate(metrics.rows, start=1):
            _print_row(number, row)
    click.echo(f"loss {metrics.loss:.6f}  perplexity {metrics.perplexity:.4f}  over {metrics.tokens} tokens")


def _print_row(number: int, row: RowLogprobs) -> None:
    for position, token, value in zip(itertools.count(), row.token_ids, row.logprobs, strict=False):
        click.echo(f"row {number}\t{position}\t{token}\t{'-' if value is None else f'{value:.6f}'}")
