"""A Hugging Face Llama folder as a GGUF file with Q4_0 matrices, embedding included, and no vocabulary.

For memory and speed on random weights: rows of q and k keep Hugging Face's order, so the file computes something else.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants

from pocketlora_export.bundle.checkpoint import TensorEntry, read_checkpoint

_MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ENDS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def _name(name: str) -> str:
    if name in _ENDS:
        return _ENDS[name]
    layer, module = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{_MODULES[module.removesuffix('.weight')]}.weight"


def _write_facts(writer: GGUFWriter, config: dict[str, int | float]) -> None:
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_head_count_kv(int(config["num_key_value_heads"]))
    writer.add_rope_dimension_count(int(config["head_dim"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_tokenizer_model("no_vocab")


def _values(entry: TensorEntry) -> np.ndarray:
    raw = np.fromfile(entry.path, dtype=np.float16, count=entry.nbytes // 2, offset=entry.offset)
    return raw.reshape(entry.shape).astype(np.float32)


def write_gguf(model: Path, path: Path) -> None:
    """Write `path` from a folder of float16 weights, one tensor at a time."""
    entries, problems = read_checkpoint(model)
    if problems:
        raise SystemExit("\n".join(problems))
    # Under its own name only when complete: an interrupted run must not leave a file that looks like a model.
    partial = path.with_name(f"{path.name}.partial")
    writer = GGUFWriter(partial, "llama", use_temp_file=False)
    _write_facts(writer, json.loads((model / "config.json").read_text()))
    matrix = GGMLQuantizationType.Q4_0
    for entry in entries.values():
        if len(entry.shape) == 1:
            writer.add_tensor_info(_name(entry.name), entry.shape, np.dtype(np.float32), 4 * entry.shape[0])
        else:
            shape = quants.quant_shape_to_byte_shape(entry.shape, matrix)
            nbytes = int(np.prod(shape))
            writer.add_tensor_info(_name(entry.name), shape, np.dtype(np.uint8), nbytes, raw_dtype=matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry in entries.values():
        values = _values(entry)
        writer.write_tensor_data(values if values.ndim == 1 else quants.quantize(values, matrix))
    writer.close()
    partial.replace(path)
