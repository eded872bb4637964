"""What a model family tells the toolchain: facts, weights, LoRA sites and stage modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["linear", "embedding", "head", "norm", "bias"]


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a decoder as written in the manifest's `model`."""

    family: str
    architecture: str
    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: dict[str, Any] | None
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...] = field(default=())
    pad_token_id: int | None = None


@dataclass(frozen=True)
class WeightSpec:
    """One tensor of the checkpoint. `name` is the Hugging Face name, also its name in base.ptd."""

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def quantized(self) -> bool:
        """Whether the tensor is stored in 4 bits."""
        return self.role in ("linear", "embedding", "head")


@dataclass(frozen=True)
class LoraSite:
    """One linear layer that can carry an adapter, named as in PEFT."""

    name: str
    layer: int
    module: str
    in_features: int
    out_features: int
