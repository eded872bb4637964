"""The peer's program: ExecuTorch's own LLM export (8da4w, XNNPACK, KV cache in a custom op) of a Llama-family model.

What `python -m executorch.extension.llm.export.export_llm` does, with the weights renamed from a Hugging Face folder:
linear layers and head with 4-bit groups and int8 activations, embedding in 4-bit groups of 32.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import click

_NAMES = {
    "embed_tokens": "tok_embeddings",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "norm": "norm",
}
# XNNPACK takes groups of these sizes; the largest that divides the rows is the fastest.
_GROUPS = (128, 64, 32)


def params_of(config: dict[str, Any]) -> dict[str, Any]:
    """ExecuTorch's parameters of a Hugging Face config."""
    rope = config["rope_parameters"]
    return {
        "dim": config["hidden_size"],
        "hidden_dim": config["intermediate_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "head_dim": config["head_dim"],
        "vocab_size": config["vocab_size"],
        "norm_eps": config["rms_norm_eps"],
        "rope_theta": rope["rope_theta"],
        "use_scaled_rope": rope["rope_type"] == "llama3",
        "use_hf_rope": True,
    }


def group_size(config: dict[str, Any]) -> int:
    """Weights that share a scale."""
    for size in _GROUPS:
        if config["hidden_size"] % size == 0 and config["intermediate_size"] % size == 0:
            return size
    raise SystemExit(f"8da4w needs rows of a multiple of {_GROUPS[-1]}: {config['hidden_size']}")


def meta_name(name: str) -> str:
    """ExecuTorch's name of a tensor."""
    if name == "lm_head.weight":
        return "output.weight"
    layer = re.fullmatch(r"model\.(layers\.\d+\.)?(.+)\.weight", name)
    if layer is None:
        raise SystemExit(f"{name}: not a tensor of a Llama-family model")
    return f"{layer[1] or ''}{_NAMES[layer[2]]}.weight"


def _write_checkpoint(model: Path, file: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for shard in sorted(model.glob("*.safetensors")):
        tensors |= {meta_name(name): tensor for name, tensor in load_file(shard).items()}
    tensors.setdefault("output.weight", tensors["tok_embeddings.weight"])
    torch.save(tensors, file)


def export(model: Path, output: Path, context: int) -> None:
    """Write `output`, a .pte for prompts and texts of at most `context` tokens."""
    from executorch.examples.models.llama.export_llama_lib import export_llama
    from executorch.extension.llm.export.config.llm_config import LlmConfig, ModelType

    config = json.loads((model / "config.json").read_text())
    with tempfile.TemporaryDirectory(prefix="executorch-", dir=output.parent) as work:
        checkpoint, params, made = (Path(work) / name for name in ("weights.pth", "params.json", "made.pte"))
        _write_checkpoint(model, checkpoint)
        params.write_text(json.dumps(params_of(config)))
        wanted = LlmConfig()
        wanted.base.model_class = ModelType.llama3_2
        wanted.base.checkpoint, wanted.base.params = str(checkpoint), str(params)
        wanted.model.use_kv_cache = wanted.model.use_sdpa_with_kv_cache = True
        wanted.export.max_seq_length = wanted.export.max_context_length = context
        wanted.export.output_dir, wanted.export.output_name = work, str(made)
        wanted.quantization.qmode, wanted.quantization.group_size = "8da4w", group_size(config)
        wanted.quantization.embedding_quantize = "4,32"
        wanted.backend.xnnpack.enabled = wanted.backend.xnnpack.extended_ops = True
        export_llama(wanted)
        # It logs that it could not save, and goes on.
        if not made.exists():
            raise SystemExit(f"{model}: export_llama wrote no program")
        made.rename(output)


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--context", default=512, show_default=True, help="Tokens of the KV cache.")
def main(model: Path, output: Path, context: int) -> None:
    """Command line of this file."""
    export(model, output, context)


if __name__ == "__main__":
    main()
