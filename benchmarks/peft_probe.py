"""The peer's training step: transformers + peft on a float32 base, AdamW over the LoRA tensors."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click


def probe(model: Path, rows: int, rank: int, steps: int, threads: int) -> float:
    """Median seconds of a training step on random tokens."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    net = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    seconds = []
    for _ in range(steps):
        tokens = torch.randint(0, base.config.vocab_size, (1, rows))
        start = time.perf_counter()
        optimizer.zero_grad()
        net(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--rows", default=128, show_default=True)
@click.option("--rank", default=16, show_default=True)
@click.option("--steps", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: Path, rows: int, rank: int, steps: int, threads: int) -> None:
    """Command line of this file."""
    click.echo(json.dumps({"seconds": probe(model, rows, rank, steps, threads)}))


if __name__ == "__main__":
    main()
