"""Tensors of a checkpoint, and how those that are quantized are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pocketlora_export.q4 import Q4Spec, Scheme

Role = Literal["linear", "embedding", "head", "norm", "bias"]


@dataclass(frozen=True)
class WeightSpec:
    """One tensor of a checkpoint, by its Hugging Face name; what belongs to a layer is named relative to the layer."""

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

    def spec(self, rows: int, cols: int) -> Q4Spec:
        """The stored form of a matrix."""
        return Q4Spec(rows, cols, self.scheme, self.group_size)


@dataclass(frozen=True)
class Quantization:
    """How the linear layers, the embedding and the head are stored."""

    linear: QuantScheme
    embedding: QuantScheme
    head: QuantScheme

    def spec(self, weight: WeightSpec) -> Q4Spec:
        """The stored form of one quantized weight."""
        schemes = {"linear": self.linear, "embedding": self.embedding, "head": self.head}
        rows, cols = weight.shape
        return schemes[weight.role].spec(rows, cols)
