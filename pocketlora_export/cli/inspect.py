"""`inspect`: what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pocketlora_export.bundle.manifest import Manifest, Method
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.cli import console
from pocketlora_export.plan.memory import INFERENCE_PARTS, TRAINING_PARTS, total

EXAMPLES = """\b
Examples:
  pocketlora-export inspect out/pocket
  pocketlora-export inspect out/pocket --json | jq .memory
"""

Rows = Iterable[tuple[str, object]]


@click.command(epilog=EXAMPLES)
@click.argument("bundle", type=click.Path(path_type=Path))
@console.json_option("Print the manifest as one JSON object on stdout.")
def command(bundle: Path, as_json: bool) -> None:
    """Show what a bundle holds: model, quantization, limits, programs, sizes, memory."""
    manifest = read_manifest(bundle).manifest
    if as_json:
        console.print_json(manifest.model_dump(mode="json"))
        return
    out = Console(highlight=False)
    for table in tables(manifest):
        out.print(table)


def tables(manifest: Manifest) -> list[Table]:
    """Everything worth seeing of a manifest."""
    return [
        _pairs(f"model: {manifest.model.name}", model_rows(manifest)),
        _pairs("quantization", quantization_rows(manifest)),
        _pairs("limits", ((k.replace("_", " "), v) for k, v in manifest.limits)),
        _programs(manifest),
        _pairs("memory beside the mapped base (estimate)", memory_rows(manifest)),
        _pairs("files", ((f.path, _size(f.size)) for f in manifest.files)),
    ]


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.2f} MB" if nbytes >= 1e5 else f"{nbytes:,} B"


def _pairs(title: str, rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, str(value))
    return table


def model_rows(manifest: Manifest) -> Rows:
    """Facts of the model."""
    model = manifest.model
    yield "architecture", f"{model.architecture} ({model.num_parameters / 1e6:,.1f} M parameters, {model.source_dtype})"
    yield "layers × hidden (mlp)", f"{model.num_layers} × {model.hidden_size} ({model.intermediate_size})"
    yield "heads", f"{model.num_heads} of {model.head_dim}, {model.num_kv_heads} key-value"
    yield "vocabulary", f"{model.vocab_size}, head {'tied' if model.tie_word_embeddings else 'of its own'}"
    for table in model.rope:
        scaling = (table.scaling or {}).get("rope_type", "none")
        yield (
            "rotary",
            f"{table.name}: {table.dim} of {model.head_dim} entries, theta {table.theta:g}, scaling {scaling}",
        )
    yield "tokenizer", _tokenizer(manifest)
    yield "made by", ", ".join(f"{k} {v}" for k, v in manifest.generator.items())
    yield "base SHA-256", manifest.base_sha256


def _tokenizer(manifest: Manifest) -> str:
    tokenizer = manifest.tokenizer
    if not tokenizer.files:
        return "none"
    return f"{'adds' if tokenizer.add_bos else 'no'} BOS, {'with' if tokenizer.chat_template else 'no'} chat template"


def quantization_rows(manifest: Manifest) -> Rows:
    """How the weights are stored."""
    quantization = manifest.quantization
    yield (
        "linear layers",
        f"{quantization.scheme}, groups of {quantization.group_size}, {quantization.scale_dtype} scales",
    )
    for name, role in (("embedding", quantization.embedding), ("head", quantization.head)):
        yield name, f"{role.scheme}, groups of {role.group_size}"
    stored = sum(t.nbytes for t in manifest.base.tensors)
    yield "bits a weight", f"{8 * stored / manifest.model.num_parameters:.2f} over all tensors"
    yield "layout", quantization.layout


def _programs(manifest: Manifest) -> Table:
    table = Table(title="programs", title_justify="left", title_style="bold")
    for column in ("program", "method", "rows", "inputs", "outputs", "arena"):
        table.add_column(column)
    for program in manifest.programs:
        for method in program.methods:
            table.add_row(f"{program.backend}/{program.kind}", *_method_cells(method))
    return table


def _method_cells(method: Method) -> tuple[str, ...]:
    rows = f"{method.t_min} to {method.t_max}" if method.t_min != method.t_max else str(method.t_max)
    return method.name, rows, str(len(method.inputs)), str(len(method.outputs)), _size(method.arena_bytes)


def memory_rows(manifest: Manifest) -> Rows:
    """The estimate by part, and its sums."""
    memory = manifest.memory.model_dump()
    for part, nbytes in memory.items():
        yield part.replace("_", " "), _size(nbytes)
    limits = manifest.limits
    yield f"training, {limits.train_t_max} rows, rank {limits.max_rank}", _size(total(memory, TRAINING_PARTS))
    yield f"inference, context {limits.max_seq_len}", _size(total(memory, INFERENCE_PARTS))
