"""The peer's training step: transformers + peft on a frozen base, AdamW over the LoRA tensors."""

from __future__ import annotations

import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.proc_status import process_memory

# The dtype of the activations, and of the weights where nothing else is said.
BASES = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "bnb-nf4": "bfloat16",
    "torchao-nf4": "bfloat16",
    "torchao-nf4-fp32": "float32",
}


def _load(model: Path, base: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, BASES[base])
    if base != "bnb-nf4":
        net = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        return _torchao_nf4(net) if base.startswith("torchao") else net
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(model, quantization_config=config, dtype=dtype, device_map={"": "cpu"})


def _torchao_nf4(net: Any) -> Any:
    """The linear layers of the blocks as torchao's NF4 tensors, as torchtune's QLoRA holds them.

    Its second quantization wants whole groups of absmax values: of 256, or of the largest power of two that divides.
    """
    import torch
    from torchao.quantization import to_nf4

    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = module.weight.detach()
            quantized = to_nf4(weight, 64, math.gcd(256, weight.numel() // 64))
            module.weight = torch.nn.Parameter(quantized, requires_grad=False)
    return net


def probe(model: Path, base: str, rows: int, rank: int, steps: int, threads: int) -> dict[str, Any]:
    """Median seconds of a training step on random tokens, and the memory after the last one."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = get_peft_model(_load(model, base), LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    seconds = []
    for _ in range(steps):
        tokens = torch.randint(0, net.config.vocab_size, (1, rows))
        start = time.perf_counter()
        optimizer.zero_grad()
        net(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--base", type=click.Choice(list(BASES)), default="float32", show_default=True)
@click.option("--rows", default=128, show_default=True)
@click.option("--rank", default=16, show_default=True)
@click.option("--steps", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: Path, base: str, rows: int, rank: int, steps: int, threads: int) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(model, base, rows, rank, steps, threads)))


if __name__ == "__main__":
    main()
