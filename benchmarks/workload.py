"""What a model's work comes to: operations of a training step and of a prompt, weights that a new token reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.random_model import layer_shapes


def linears(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The seven linear layers of a block, (out_features, in_features)."""
    return {name: (shape[0], shape[1]) for name, shape in layer_shapes(config).items() if len(shape) == 2}


@dataclass(frozen=True)
class Workload:
    """Counts of one model. Attention's products with the cache are left out; recomputing is not work."""

    linear: int
    head: int
    stored: int
    lora: int

    @classmethod
    def of(cls, config: dict[str, Any], rank: int) -> Workload:
        """Weights of all linear layers, of the head, all matrices in the checkpoint, LoRA tensors of that rank."""
        layers, sizes = config["num_hidden_layers"], linears(config).values()
        linear = layers * sum(out * into for out, into in sizes)
        head = config["vocab_size"] * config["hidden_size"]
        stored = linear + head * (1 if config["tie_word_embeddings"] else 2)
        return cls(linear, head, stored, layers * sum(rank * (out + into) for out, into in sizes))

    @property
    def read(self) -> int:
        """Weights that a new token reads: every linear layer and the head."""
        return self.linear + self.head

    def training_flops(self, rows: int) -> float:
        """2·P·T forward and 2·P·T for dX; LoRA's forward, dX and its own gradients."""
        return rows * (4.0 * self.read + 6.0 * self.lora)

    def prompt_flops(self, rows: int) -> float:
        """All rows through the linear layers, the last one through the head."""
        return 2.0 * (rows * self.linear + self.head)


@dataclass(frozen=True)
class Share:
    """What programs do as a share of the most that the machine does: fp32 FLOP/s, bytes read a second."""

    work: Workload
    flops: float
    bandwidth: float

    def training(self, rows: int, seconds: float) -> float:
        """A training step's operations against the fp32 peak."""
        return self.work.training_flops(rows) / seconds / self.flops

    def prompt(self, rows: int, seconds: float) -> float:
        """A prompt's operations against the fp32 peak."""
        return self.work.prompt_flops(rows) / seconds / self.flops

    def token(self, weight_bytes: float, seconds: float) -> float:
        """The bytes of weights that a new token reads against the bandwidth."""
        return weight_bytes / seconds / self.bandwidth
