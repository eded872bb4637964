"""Tiny models of every family that together have each of its variants."""

from __future__ import annotations

from typing import Any

from tests.support.models import MODULES, TinyModel

FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
PHI = ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")
PHI_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 24}


def tiny(family: str, modules: tuple[str, ...] = MODULES, **options: Any) -> TinyModel:
    """A model of a family. Sizes of TinyModel are taken by their names, other options are keys of the config."""
    sizes = {name: options.pop(name) for name in list(options) if name in TinyModel.__dataclass_fields__}
    sizes = {"hidden": 64, "intermediate": 96, "head_dim": 16, "vocab": 272, "target_modules": modules, **sizes}
    return TinyModel(family=family, options=tuple(options.items()), **sizes)


def longrope(original: int, entries: int, **more: Any) -> dict[str, Any]:
    """Options of Phi-3 whose short and long factors differ in every entry."""
    factors = {
        "short_factor": [1.0 + 0.05 * i for i in range(entries)],
        "long_factor": [1.5 + 0.5 * i for i in range(entries)],
    }
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **factors, **more}
    return {"original_max_position_embeddings": original, "rope_parameters": rope}


# One lowering each, so a model has as many variants as fit together.
FAMILY_MODELS = {
    # Biases on q, k and v; layer 0 sees everything, layer 1 has a window; YaRN; untied.
    "qwen2": tiny(
        "qwen2", tied=False, use_sliding_window=True, sliding_window=9, max_window_layers=1, rope_parameters=YARN
    ),
    # A norm of each head, heads that are wider than hidden / heads, biases on q, k, v and o.
    "qwen3": tiny("qwen3", quant="int4", head_dim=24, attention_bias=True),
    # Layers 1 and 3 have no rotary embedding, and a window.
    "smollm3": tiny("smollm3", layers=4, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=9),
    "granite": tiny(
        "granite", embedding_multiplier=6.0, residual_multiplier=0.22, attention_multiplier=0.1, logits_scaling=8.0,
        attention_bias=True, mlp_bias=True,
    ),
    # Phi-3-mini: fused layers, a window, as many key heads as heads; the context lies within the short factors.
    "phi3": tiny("phi3", FUSED, tied=False, kv_heads=4, sliding_window=11, **longrope(96, 8)),
    # Phi-4-mini: three quarters of a head are rotated; the context lies beyond the short factors.
    "phi4-mini": tiny("phi3", FUSED, quant="int4", **longrope(4, 6, partial_rotary_factor=0.75)),
    # Norms behind attention and MLP, and over whole rows of q and k.
    "olmo2": tiny("olmo2", tied=False),
    # Attention and MLP side by side, half of a head rotated, biases on everything, the head included.
    "phi": tiny("phi", PHI, tied=False, kv_heads=4, rope_parameters=PHI_ROPE),
    # Caps of the scores and of the logits that bend them visibly; layers 0 and 2 slide.
    "gemma2": tiny(
        "gemma2", layers=3, head_dim=24, sliding_window=9, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
    # Layers 0 and 1 slide and have the local table, layer 2 the global one.
    "gemma3": tiny(
        "gemma3_text", layers=3, head_dim=24, sliding_window=9, query_pre_attn_scalar=24, sliding_window_pattern=3,
        rope_parameters=GEMMA_ROPE,
    ),
    # Queries, keys and values that are clipped; norms without parameters.
    "olmo": tiny("olmo", tied=False, quant="int4", clip_qkv=1.0),
}  # fmt: skip
# What the models above leave out, for the slow tests.
MORE_FAMILY_MODELS = {
    "qwen2-tied": tiny("qwen2"),
    "qwen3-sliding": tiny(
        "qwen3", use_sliding_window=True, sliding_window=7, layer_types=["sliding_attention", "full_attention"]
    ),
    # With and without rotary embedding, with and without a window.
    "smollm3-mixed": tiny(
        "smollm3", layers=3, no_rope_layers=[1, 0, 0], use_sliding_window=True, sliding_window=9,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"], attention_bias=True, mlp_bias=True,
    ),
    "smollm3-one-kind": tiny("smollm3", no_rope_layers=[1, 1]),
    "granite-untied": tiny("granite", tied=False, quant="int4", embedding_multiplier=3.0),
    "phi3-plain": tiny("phi3", FUSED, quant="int4"),
    "phi3-partial": tiny(
        "phi3", FUSED, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    ),
    "olmo2-biases": tiny("olmo2", kv_heads=4, attention_bias=True, quant="int4"),
    # A norm of each head, the other name of the activation, a tied head with a bias.
    "phi-head-norms": tiny(
        "phi", PHI, quant="int4", qk_layernorm=True, hidden_act="gelu_pytorch_tanh",
        rope_parameters={**PHI_ROPE, "rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.25},
    ),
    "gemma2-plain": tiny(
        "gemma2", tied=False, quant="int4", attention_bias=True, attn_logit_softcapping=None, sliding_window=7,
        final_logit_softcapping=None, query_pre_attn_scalar=16, layer_types=["full_attention", "sliding_attention"],
    ),
    "gemma3-capped": tiny(
        "gemma3_text", tied=False, quant="int4", attention_bias=True, sliding_window=9, query_pre_attn_scalar=10,
        sliding_window_pattern=2, rope_parameters=None, final_logit_softcapping=3.0,
    ),
    "olmo-plain": tiny("olmo", attention_bias=True),
}  # fmt: skip
