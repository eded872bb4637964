"""What --compute costs in a training step: loss and LoRA gradients of held-out text, beside a base in bfloat16.

The shipped model (models/pocket-llama-4m) with a random adapter, its A and B both far from zero, and chapters that its
training left out. Expected is autograd in fp32 through the same dequantized weights; PEFT over bfloat16 is what a user
could choose instead. Errors are relative, in the Euclidean norm: of all gradients as one vector, and of the worst
tensor.

Example: python -m benchmarks.gradients --windows 8
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.perplexity import MODEL
from benchmarks.results import Row, run_child, write
from benchmarks.train_probe import RandomRow
from pocketlora_export.runtime import Trainer, TrainerConfig
from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.session import Compute
from tools.demo_model import corpus
from tools.demo_model.data import held_out_windows

COMPUTES: tuple[Compute, ...] = ("fp32", "int16", "int8", "bf16")
LENGTH = 256
Gradients = dict[str, NDArray[np.float32]]


def save_adapter(base: Path, folder: Path) -> None:
    """Have PEFT write an adapter for all linear layers with random A and B."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).save_pretrained(folder)


def of_peft(base: Path, adapter: Path, window: NDArray[np.int64], dtype: str) -> tuple[float, Gradients]:
    """Loss and gradients by autograd over a base in that dtype; LoRA's own tensors are fp32, as PEFT has them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), attn_implementation="eager")
    model: Any = PeftModel.from_pretrained(net, adapter, is_trainable=True).eval()
    tokens = torch.from_numpy(window)[None]
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    named = {name.replace(".default", ""): p.grad for name, p in model.named_parameters() if p.requires_grad}
    return loss.item(), {name: grad.float().numpy() for name, grad in named.items()}


def of_runtime(
    engine: Engine, adapter: Path, window: NDArray[np.int64], compute: Compute, shapes: dict[str, tuple[int, ...]]
) -> tuple[float, Gradients]:
    """Ours."""
    with Trainer(engine, TrainerConfig(compute=compute), engine.load_adapter(adapter)) as trainer:
        row = RandomRow(window, np.array([0, len(window)], dtype=np.int64))
        loss = trainer.forward_backward([row]).loss
        return loss, {name: trainer.gradient(name, shape) for name, shape in shapes.items()}


def errors(found: Gradients, expected: Gradients) -> tuple[float, float]:
    """Of all gradients as one vector, and of the worst tensor."""
    off = {name: float(np.linalg.norm(found[name] - grad)) for name, grad in expected.items()}
    size = {name: float(np.linalg.norm(grad)) for name, grad in expected.items()}
    whole = float(np.linalg.norm(list(off.values())) / np.linalg.norm(list(size.values())))
    return whole, max(off[name] / size[name] for name in expected)


def rows_of(bundle: Path, base: Path, adapter: Path, windows: NDArray[np.int64]) -> list[Row]:
    """A row for each way of computing, the mean over the windows."""
    engine = Engine(bundle)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for window in windows:
        loss, expected = of_peft(base, adapter, window, "float32")
        shapes = {name: grad.shape for name, grad in expected.items()}
        ways = {f"ours, {c}": of_runtime(engine, adapter, window, c, shapes) for c in COMPUTES}
        if ways["ours, bf16"][0] == ways["ours, int16"][0]:
            del ways["ours, bf16"]  # the CPU has no matrix products of bf16: it was int16
        ways["PEFT, base in bfloat16"] = of_peft(base, adapter, window, "bfloat16")
        for name, (own, gradients) in ways.items():
            found.setdefault(name, []).append((abs(own - loss) / loss, *errors(gradients, expected)))
    return [
        {
            "": name,
            "loss off by": f"{np.mean([r[0] for r in runs]):.1e}",
            "all gradients": f"{np.mean([r[1] for r in runs]):.1e}",
            "the worst tensor": f"{np.mean([r[2] for r in runs]):.1e}",
            "windows": len(runs),
        }
        for name, runs in found.items()
    ]


@click.command(help=__doc__)
@click.option("--windows", default=8, show_default=True, help="Held-out windows of 256 tokens.")
@click.option("--quant", type=click.Choice(["nf4", "int4"]), default="nf4", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(windows: int, quant: str, output: Path) -> None:
    """Command line of this file."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    chapters = corpus.hold_out(corpus.load_chapters(Path("build/perplexity/corpus")))[1]
    all_windows = held_out_windows(tokenizer, chapters, LENGTH).numpy()
    chosen = all_windows[np.linspace(0, len(all_windows) - 1, min(windows, len(all_windows))).astype(int)]
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        bundle, base, adapter = (Path(work) / name for name in ("bundle", "base", "adapter"))
        run_child("pocketlora_export", "bundle", "-m", MODEL, "-o", bundle, "--quant", quant)
        run_child("pocketlora_export", "dequantize", bundle, "-o", base)
        save_adapter(base, adapter)
        table = rows_of(bundle, base, adapter, chosen)
    write(output, "gradients", f"A training step of held-out text, {quant}: relative errors against fp32", table)


if __name__ == "__main__":
    main()
