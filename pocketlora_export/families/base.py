"""What a model family tells the toolchain: facts, weights, LoRA sites and stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pocketlora_export.graphs.decoder import Decoder, LoraSite
from pocketlora_export.q4 import Q4Spec, Scheme

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
    sliding_window: int | None = None


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
class QuantScheme:
    """A 4-bit scheme and its group size."""

    scheme: Scheme
    group_size: int


@dataclass(frozen=True)
class Quantization:
    """How the linear layers, the embedding and the head are stored."""

    linear: QuantScheme
    embedding: QuantScheme
    head: QuantScheme

    def of(self, role: Role) -> QuantScheme:
        """The scheme of a quantized role."""
        return {"linear": self.linear, "embedding": self.embedding, "head": self.head}[role]

    def spec(self, weight: WeightSpec) -> Q4Spec:
        """The stored form of one quantized weight."""
        scheme = self.of(weight.role)
        rows, cols = weight.shape
        return Q4Spec(rows, cols, scheme.scheme, scheme.group_size)


class Family(Protocol):
    """A model family."""

    architectures: tuple[str, ...]

    def check_config(self, config: Mapping[str, Any]) -> list[str]:
        """Problems that make a config unsupported: key, what was expected, what was found. Empty = supported."""

    def facts(self, config: Mapping[str, Any], name: str) -> ModelFacts:
        """Facts of a checked config."""

    def weights(self, facts: ModelFacts) -> list[WeightSpec]:
        """Every tensor of the checkpoint, in the order of base.ptd. A tied head is not listed."""

    def modules(self, facts: ModelFacts) -> tuple[str, ...]:
        """Names of the linear modules of a layer that can carry an adapter, in layer order."""

    def sites(self, facts: ModelFacts, targets: Collection[str]) -> list[LoraSite]:
        """LoRA sites in layer order, then in module order."""

    def decoder(self, facts: ModelFacts, quantization: Quantization, targets: Collection[str]) -> Decoder:
        """The stages."""
