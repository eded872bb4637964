"""Random weights in the shape of a known model, written as an ordinary Hugging Face folder, one layer at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# hidden, intermediate, layers, heads, kv heads, vocabulary, tied head, rotary parameters
_SHAPES: dict[str, tuple[int, int, int, int, int, int, bool, dict[str, Any]]] = {
    "135m": (576, 1536, 30, 9, 3, 49152, True, _DEFAULT_ROPE),
    "1b": (2048, 8192, 16, 32, 8, 128256, True, _LLAMA3_ROPE),
    "3b": (3072, 8192, 28, 24, 8, 128256, True, _LLAMA3_ROPE),
    "7b": (4096, 11008, 32, 32, 32, 32000, False, _DEFAULT_ROPE),
}
SHAPES = tuple(_SHAPES)
# Values drawn once, and how many of them in a row one stretch of a matrix takes.
_DRAWN = 1 << 24
_STRETCH = 1 << 20


def config_of(shape: str, layers: int | None = None) -> dict[str, Any]:
    """config.json of a shape, with another number of layers if wanted."""
    hidden, intermediate, depth, heads, kv_heads, vocab, tied, rope = _SHAPES[shape]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers or depth,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "vocab_size": vocab,
        "max_position_embeddings": 131072 if rope is _LLAMA3_ROPE else 8192,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float16",
    }


def layer_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensors of a layer, [out_features, in_features] or [channels]."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }


class _Weights:
    """Normal values, drawn once: every stretch of rows is a random slice of them with random scales of its rows.

    Drawing billions of values would take longer than writing them; a slice under other scales quantizes to other codes
    and scales.
    """

    def __init__(self, seed: int) -> None:
        self._chance = torch.Generator().manual_seed(seed)
        self._drawn = torch.randn(_DRAWN, generator=self._chance).half()

    def make(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Ones for a norm; a matrix of float16 [rows, cols] with a standard deviation of about 0.02."""
        if len(shape) == 1:
            return torch.ones(shape, dtype=torch.float16)
        rows, cols = shape
        made = torch.empty(shape, dtype=torch.float16)
        scales = (0.02 * torch.exp(0.3 * torch.randn(rows, 1, generator=self._chance))).half()
        step = max(1, _STRETCH // cols)
        for begin in range(0, rows, step):
            count = min(step, rows - begin)
            start = int(torch.randint(_DRAWN - count * cols, (1,), generator=self._chance))
            drawn = self._drawn[start : start + count * cols].view(count, cols)
            torch.mul(drawn, scales[begin : begin + count], out=made[begin : begin + count])
        return made


def _shards(config: dict[str, Any], weights: _Weights) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors, in pieces of one layer."""
    ends = (config["vocab_size"], config["hidden_size"])
    yield {"model.embed_tokens.weight": weights.make(ends), "model.norm.weight": weights.make(ends[1:])}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield {f"{prefix}{name}.weight": weights.make(shape) for name, shape in layer_shapes(config).items()}
    if not config["tie_word_embeddings"]:
        yield {"lm_head.weight": weights.make(ends)}


def _write_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer: real, small, and enough to run text through any vocabulary size."""
    tokens = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(directory / "tokenizer.json"))
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(facts, indent=2))


def write_random_model(directory: Path, shape: str, layers: int | None = None, seed: int = 0) -> None:
    """Write a model of a known shape with random float16 weights to a new folder."""
    config = config_of(shape, layers)
    directory.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(_shards(config, _Weights(seed))):
        file = f"model-{number:05d}.safetensors"
        save_file(tensors, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    _write_tokenizer(directory)
    # Last: a folder with a config is a complete one.
    (directory / "config.json").write_text(json.dumps(config, indent=2))


@click.command(help=__doc__)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--shape", type=click.Choice(SHAPES), default="135m", show_default=True)
@click.option("--layers", type=click.IntRange(1), help="Another number of layers than the shape's own.")
@click.option("--seed", default=0, show_default=True)
def main(directory: Path, shape: str, layers: int | None, seed: int) -> None:
    """Command line of this file."""
    write_random_model(directory, shape, layers, seed)


if __name__ == "__main__":
    main()
