"""Train the demo model from nothing, on a CPU, in about an hour.

    python -m tools.demo_model.train --out models/pocket-llama-4m

The run is seeded. It writes a checkpoint to the work directory once a minute
and continues from it when started again with the same options.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.demo_model import corpus
from tools.demo_model.data import IGNORED, Windows, held_out_windows
from tools.demo_model.tokenizer import BOS, EOS, PAD, TURN_END, train_tokenizer, wrap

LENGTH = 256
LONG_LENGTH = 512
LONG_EVERY = 4
CHECKPOINT_SECONDS = 60.0
EVALUATE_EVERY = 500


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights."""

    seed: int = 20261121
    vocab_size: int = 3072
    tokens_per_step: int = 2048
    steps: int = 7000
    warmup: int = 200
    learning_rate: float = 2e-3
    floor: float = 0.05
    weight_decay: float = 0.1
    dropout: float = 0.1
    chat_share: float = 0.06

    def rate(self, progress: float, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine over ``progress`` in [0, 1]."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * (self.floor + (1 - self.floor) * cosine)


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """A 3.7M-parameter Llama: grouped-query attention, tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=LONG_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def add_dropout(model: LlamaForCausalLM, rate: float) -> None:
    """Drop part of each residual branch while training; saved weights are unaffected."""

    def drop(module: nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(output, rate, module.training)

    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.down_proj.register_forward_hook(drop)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; norms and the embedding table are not decayed."""
    named = list(model.named_parameters())
    kept = [p for name, p in named if p.ndim < 2 or "embed" in name]
    decayed = [p for name, p in named if p.ndim >= 2 and "embed" not in name]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def loss_of(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy; ``labels`` are aligned with ``inputs``."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def held_out_loss(model: nn.Module, windows: torch.Tensor) -> float:
    """Mean loss per token over the held-out windows."""
    model.eval()
    with torch.no_grad():
        losses = [loss_of(model, rows, rows).item() * len(rows) for rows in torch.split(windows, 8)]
    model.train()
    return sum(losses) / len(windows)


class Run:
    """A training run whose whole state fits in one checkpoint file."""

    def __init__(self, recipe: Recipe, model: LlamaForCausalLM, windows: Windows, path: Path) -> None:
        self.recipe, self.model, self.windows, self.path = recipe, model, windows, path
        self.optimizer = make_optimizer(model, recipe)
        self.step = 0
        self.seconds = 0.0
        if path.exists():
            self._restore()

    def _restore(self) -> None:
        state = torch.load(self.path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise click.ClickException(f"{self.path} was written with other options; use a new --work-dir")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.windows.generator.set_state(state["generator"])
        torch.set_rng_state(state["dropout_generator"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Replace the checkpoint file in one move."""
        state = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.windows.generator.get_state(),
            "dropout_generator": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def progress(self, max_seconds: float) -> float:
        """How far the run is, by steps or by time, whichever is further."""
        return max(self.step / self.recipe.steps, self.seconds / max_seconds)

    def train_step(self, max_seconds: float) -> float:
        """One update; returns its loss."""
        length = LONG_LENGTH if self.step % LONG_EVERY == 0 else LENGTH
        rows = self.recipe.tokens_per_step // length
        loss = loss_of(self.model, *self.windows.batch(rows, length, self.recipe.chat_share))
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.progress(max_seconds), self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def train(self, max_seconds: float, evaluate: Callable[[], float], log: Callable[[str], None]) -> None:
        """Train until the step or time budget is spent."""
        saved, smooth = time.monotonic(), 0.0
        while self.progress(max_seconds) < 1.0:
            began = time.monotonic()
            loss = self.train_step(max_seconds)
            smooth = loss if not smooth else 0.98 * smooth + 0.02 * loss
            self.seconds += time.monotonic() - began
            if self.step % 50 == 0:
                log(f"step {self.step:5d}  {self.seconds / 60:5.1f} min  loss {smooth:.3f}")
            if self.step % EVALUATE_EVERY == 0:
                log(f"step {self.step:5d}  held-out perplexity {math.exp(evaluate()):.2f}")
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model directory: fp16 weights, tokenizer and generation defaults."""
    tokenizer.save_pretrained(out)
    config = out / "tokenizer_config.json"
    # The name that every transformers release knows.
    settings = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(settings, indent=2) + "\n")
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.to(torch.float16)
    half.generation_config = GenerationConfig(
        bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
        eos_token_id=tokenizer.convert_tokens_to_ids([EOS, TURN_END]),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        do_sample=True,
        temperature=0.7,
        top_p=0.9,
        top_k=50,
    )
    half.save_pretrained(out)


def _report(run: Run, loss: float, windows: torch.Tensor, words: int, out: Path) -> str:
    scored = windows.shape[0] * (windows.shape[1] - 1)
    figures = {
        **asdict(run.recipe),
        "steps_done": run.step,
        "minutes": round(run.seconds / 60, 1),
        "held_out_tokens": scored,
        "held_out_perplexity": round(math.exp(loss), 2),
        "parameters": sum(p.numel() for p in run.model.parameters()),
    }
    out.write_text(json.dumps(figures, indent=2) + "\n")
    return f"held-out perplexity {math.exp(loss):.2f} per token over {scored} tokens ({words} words of text)"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model directory to write.")
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path),
    default=Path("/tmp/pocket-llama"),
    show_default=True,
    help="Corpus and checkpoint.",
)
@click.option("--max-minutes", default=60.0, show_default=True, help="Training time budget.")
@click.option("--steps", default=Recipe.steps, show_default=True, help="Step budget.")
@click.option("--threads", default=int(os.environ.get("OMP_NUM_THREADS", "1")), show_default=True)
@click.option("--export-only", is_flag=True, help="Write the latest checkpoint without training.")
def main(out: Path, work_dir: Path, max_minutes: float, steps: int, threads: int, export_only: bool) -> None:
    """Train the demo model on public-domain novels and write it to --out."""

    def log(message: str) -> None:
        click.echo(message, err=True)

    torch.set_num_threads(threads)
    recipe = Recipe(steps=steps)
    torch.manual_seed(recipe.seed)
    training, held_out = corpus.hold_out(corpus.load_chapters(work_dir / "corpus"))
    core = train_tokenizer((chapter.text for chapter in training), recipe.vocab_size)
    tokenizer = wrap(core, LONG_LENGTH)
    windows = Windows(core, training, recipe.seed)
    test = held_out_windows(core, held_out, LENGTH)
    model = LlamaForCausalLM(model_config(tokenizer))
    add_dropout(model, recipe.dropout)
    log(f"{len(windows.tokens)} training tokens, {sum(p.numel() for p in model.parameters())} parameters")
    run = Run(recipe, model, windows, work_dir / "checkpoint.pt")
    if not export_only:
        model.train()
        run.train(max_minutes * 60, lambda: held_out_loss(model, test), log)
    words = sum(len(chapter.text.split()) for chapter in held_out)
    log(_report(run, held_out_loss(model, test), test, words, work_dir / "report.json"))
    export(model, tokenizer, out)


if __name__ == "__main__":
    main()
