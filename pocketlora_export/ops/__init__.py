"""Python face of the kernels: schemas, fake and reference implementations, autograd formulas."""

from __future__ import annotations

from pocketlora_export.ops.activation import (
    geglu_tanh,
    geglu_tanh_backward,
    gelu_tanh,
    gelu_tanh_backward,
    soft_cap,
    swiglu,
    swiglu_backward,
)
from pocketlora_export.ops.attention import attention, attention_backward, attention_cached
from pocketlora_export.ops.head_loss import head_loss
from pocketlora_export.ops.linear import (
    embedding,
    known_linear4,
    known_lora_linear,
    linear4,
    linear4_backward,
    lora_linear,
    lora_linear_backward,
)
from pocketlora_export.ops.norm import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from pocketlora_export.ops.rope import rope, rope_table

__all__ = [
    "attention",
    "attention_backward",
    "attention_cached",
    "embedding",
    "geglu_tanh",
    "geglu_tanh_backward",
    "gelu_tanh",
    "gelu_tanh_backward",
    "head_loss",
    "known_linear4",
    "known_lora_linear",
    "layer_norm",
    "layer_norm_backward",
    "linear4",
    "linear4_backward",
    "lora_linear",
    "lora_linear_backward",
    "rms_norm",
    "rms_norm_backward",
    "rope",
    "rope_table",
    "soft_cap",
    "swiglu",
    "swiglu_backward",
]
