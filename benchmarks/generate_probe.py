"""Opens a bundle, reads a prompt and generates, and prints time and memory. Loads numpy and the runtime only.

A token is computed before, which does not count; so it is in every probe of a peer.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.proc_status import process_memory
from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.session import COMPUTES, Compute, Session


def probe(
    bundle: Path,
    context: int,
    prompt: int,
    new_tokens: int,
    threads: int,
    backend: str = "auto",
    compute: Compute = "auto",
) -> dict[str, Any]:
    """Seconds of the prompt and a new token, and memory with an idle session and after generating."""
    engine = Engine(bundle, backend=backend, num_threads=threads)
    session = Session(engine, context_length=context, compute=compute)
    idle = process_memory()
    # A warm-up in a session of its own: the pages of the base are mapped when time is taken, as the peers' are.
    with Session(engine, context_length=context, compute=compute) as warm:
        warm.prefill([3])
    start = time.perf_counter()
    session.prefill(list(range(3, 3 + prompt)))
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    for token in range(new_tokens):
        session.decode(3 + token)
    seconds = (time.perf_counter() - start) / new_tokens
    return {"seconds": seconds, "prefill": prefill, "idle": idle, "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--context", default=512, show_default=True)
@click.option("--prompt", default=128, show_default=True)
@click.option("--new-tokens", default=16, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option("--compute", type=click.Choice(COMPUTES), default="auto", show_default=True)
def main(
    bundle: Path, context: int, prompt: int, new_tokens: int, threads: int, backend: str, compute: Compute
) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(bundle, context, prompt, new_tokens, threads, backend, compute)))


if __name__ == "__main__":
    main()
