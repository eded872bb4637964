"""What base.ptd holds of one tensor, before any byte of it exists."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pocketlora_export.q4 import Q4Spec


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of base.ptd without its bytes: tiles (`q4` set) or fp32."""

    name: str
    source_shape: tuple[int, ...]
    q4: Q4Spec | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as stored."""
        return self.source_shape if self.q4 is None else self.q4.shape

    @property
    def dtype(self) -> str:
        """Dtype as stored."""
        return "float32" if self.q4 is None else "uint8"

    @property
    def elements(self) -> int:
        """Elements of the source tensor."""
        return math.prod(self.source_shape)

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.elements * 4 if self.q4 is None else self.q4.nbytes
