"""A LoRA adapter in memory, whatever format it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pocketlora_export.adapters.raw_tensors import RawTensor

T = TypeVar("T")
BASE_KEY = "pocketlora.base_sha256"


@dataclass(frozen=True)
class LoraSite:
    """The adapter of one linear layer: W + scale · B · A."""

    a: RawTensor  # [rank, in_features]
    b: RawTensor  # [out_features, rank]
    alpha: float
    scale: float

    @property
    def rank(self) -> int:
        """Rows of A."""
        return self.a.shape[0]

    @property
    def num_parameters(self) -> int:
        """Elements of A and B."""
        return self.a.data.size + self.b.data.size


@dataclass(frozen=True)
class LoraAdapter:
    """All sites by the whole name of their module ("model.layers.0.self_attn.q_proj"), sorted by layer."""

    sites: dict[str, LoraSite]
    dropout: float = 0.0
    use_rslora: bool = False
    base_model: str | None = None
    base_sha256: str | None = None

    @property
    def rank(self) -> int:
        """The most frequent rank."""
        return most_common(site.rank for site in self.sites.values())

    @property
    def alpha(self) -> float:
        """The most frequent alpha."""
        return most_common(site.alpha for site in self.sites.values())

    @property
    def num_parameters(self) -> int:
        """Elements of all A and B."""
        return sum(site.num_parameters for site in self.sites.values())


def most_common(values: Iterable[T]) -> T:
    """The most frequent value, the first of those that are equally frequent."""
    return Counter(values).most_common(1)[0][0]


def not_finite(name: str, tensor: RawTensor) -> list[str]:
    """A line when a tensor holds NaN or an infinity."""
    wrong = np.flatnonzero(~np.isfinite(tensor.float32()))
    if not wrong.size:
        return []
    return [f"{name}: element {wrong[0]} is {tensor.float32().flat[wrong[0]]}, {wrong.size} are not finite"]
