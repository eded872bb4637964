"""A whole decoder as stages: its ends, its kinds of layers, and where adapters can sit."""

from __future__ import annotations

from dataclasses import dataclass

from pocketlora_export.graphs.stage import Stage


@dataclass(frozen=True)
class LoraSite:
    """One linear layer that can carry an adapter, named as in PEFT."""

    name: str
    layer: int
    module: str
    in_features: int
    out_features: int


@dataclass(frozen=True)
class Block:
    """One kind of decoder layer: its training forward and its inference stages.

    `forward_keep`: the training forward with the products worth keeping as further outputs, "<linear layer>.kept".
    `forward_known`: with those as inputs; it is there for its gradient. `keys`: the prefill of rows that only leave
    keys and values. `window`: keys that a token sees at most, itself included; None = all before it.
    """

    forward: Stage
    forward_keep: Stage
    forward_known: Stage
    prefill: Stage
    decode: Stage
    keys: Stage
    window: int | None = None


@dataclass(frozen=True)
class Decoder:
    """All stages of a model. `blocks` maps a name suffix ("" for the usual single kind) to a kind of layer."""

    embed: Stage
    head_loss: Stage
    head: Stage
    blocks: dict[str, Block]
    layer_kinds: tuple[str, ...]
    weight_names: dict[str, str]
    """Names of the ends' weight inputs ("lm_head.weight") in base.ptd."""

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The window of each layer; None = it sees everything before."""
        return tuple(self.blocks[kind].window for kind in self.layer_kinds)

    def layer_prefix(self, layer: int) -> str:
        """What a layer's relative names are prefixed with to get Hugging Face names."""
        return f"model.layers.{layer}."
