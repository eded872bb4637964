"""Resident memory beside the peers', in one run: a training step, and a loaded model that has generated.

A peer that cannot be installed or run is listed with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.contenders import RANK, Contenders, Found
from benchmarks.random_model import SHAPES
from benchmarks.results import megabytes, write

PROMPT = 128


def row_of(work: str, name: str, measure: Callable[[], Found]) -> dict[str, str]:
    """One program: memory after its work, or why there is none."""
    try:
        found = measure()
    except SystemExit as failure:
        return {"work": work, "": name, "RssAnon MB": f"did not run: {failure}"}
    memory = found["memory"]
    return {
        "work": work,
        "": name,
        "RssAnon MB": megabytes(memory["rss_anon"]),
        "RssFile MB": megabytes(memory["rss_file"]),
        "peak RSS MB": megabytes(memory["peak_rss"]),
        "seconds": f"{found['seconds']:.3f}",
    }


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="1b", show_default=True)
@click.option("--rows", default=256, show_default=True, help="Tokens of the training step.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--timeout", default=900.0, show_default=True, help="Seconds for a peer's training step, loading included."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/peers-work"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(shape: str, rows: int, threads: int, timeout: float, work: Path, output: Path) -> None:
    """Command line of this file."""
    given = Contenders(work / shape, shape, threads, timeout)
    step, decode = f"training step, {rows} rows", f"{PROMPT} tokens read, 16 written"
    table = [
        row_of(decode, "PocketLoRA, NF4", lambda: given.generate(PROMPT)),
        row_of(decode, "llama.cpp, Q4_0", lambda: given.llama_cpp(PROMPT)),
        row_of(step, "PocketLoRA, NF4", lambda: given.train(rows)),
        row_of(step, "PEFT, float32 base", lambda: given.peft("float32", rows)),
        row_of(step, "PEFT, bfloat16 base", lambda: given.peft("bfloat16", rows)),
        row_of(step, "PEFT + bitsandbytes NF4", lambda: given.peft("bnb-nf4", rows)),
    ]
    title = f"Resident memory, {shape}, LoRA rank {RANK} on all linear layers, {threads} threads"
    write(output, "peers_memory", title, table)


if __name__ == "__main__":
    main()
