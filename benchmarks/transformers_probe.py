"""The peer's inference: transformers with its own KV cache. Prints the times of a prompt and of a new token."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.proc_status import process_memory


def probe(model: Path, dtype: str, prompt: int, new_tokens: int, threads: int) -> dict[str, Any]:
    """Seconds of the prompt and a new token, and the memory after generating."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    with torch.inference_mode():
        net(torch.tensor([[3]]), use_cache=False)
        start = time.perf_counter()
        out = net(torch.arange(3, 3 + prompt)[None], use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - start
        start = time.perf_counter()
        for token in range(new_tokens):
            out = net(torch.tensor([[3 + token]]), past_key_values=out.past_key_values, use_cache=True)
    seconds = (time.perf_counter() - start) / new_tokens
    return {"seconds": seconds, "prefill": prefill, "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--prompt", default=128, show_default=True)
@click.option("--new-tokens", default=8, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: Path, dtype: str, prompt: int, new_tokens: int, threads: int) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(model, dtype, prompt, new_tokens, threads)))


if __name__ == "__main__":
    main()
