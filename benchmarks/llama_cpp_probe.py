"""The peer's inference: llama.cpp through llama-cpp-python, a Q4_0 file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.proc_status import process_memory


def probe(model: Path, context: int, prompt: int, new_tokens: int, threads: int) -> dict[str, Any]:
    """Seconds a new token, and memory with an idle context and after generating."""
    from llama_cpp import Llama

    llm = Llama(str(model), n_ctx=context, n_batch=context, n_threads=threads, n_threads_batch=threads, verbose=False)
    idle = process_memory()
    llm.eval(list(range(3, 3 + prompt)))
    start = time.perf_counter()
    for token in range(new_tokens):
        llm.eval([3 + token])
    seconds = (time.perf_counter() - start) / new_tokens
    return {"seconds": seconds, "idle": idle, "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--context", default=512, show_default=True)
@click.option("--prompt", default=128, show_default=True)
@click.option("--new-tokens", default=16, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: Path, context: int, prompt: int, new_tokens: int, threads: int) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(model, context, prompt, new_tokens, threads)))


if __name__ == "__main__":
    main()
