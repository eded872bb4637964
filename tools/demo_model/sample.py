"""Print what a model writes after a prompt, one line per seed.

python -m tools.demo_model.sample models/pocket-llama-4m "This morning"
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@click.command()
@click.argument("model_dir", type=click.Path(exists=True, path_type=Path))
@click.argument("prompts", nargs=-1, required=True)
@click.option("--chat", is_flag=True, help="Each prompt is a user turn.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--max-new-tokens", default=80, show_default=True)
def main(model_dir: Path, prompts: tuple[str, ...], chat: bool, seeds: int, max_new_tokens: int) -> None:
    """Sample from MODEL_DIR after each of PROMPTS with its own generation defaults."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    for prompt in prompts:
        text = prompt
        if chat:
            turns = [{"role": "user", "content": prompt}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=not chat)
        for seed in range(seeds):
            torch.manual_seed(seed)
            written = model.generate(**inputs, max_new_tokens=max_new_tokens)
            click.echo(f"[seed {seed}] {tokenizer.decode(written[0], skip_special_tokens=True)}\n")


if __name__ == "__main__":
    main()
