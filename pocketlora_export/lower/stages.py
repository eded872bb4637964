"""Which stages make up the training and the inference program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pocketlora_export.graphs.decoder import Block, Decoder
from pocketlora_export.graphs.gradient import backward_stage
from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.lower.spec import Kind

# The last two keep the first products of the MLP for the backward instead of computing them again.
TRAIN_ROLES = ("forward", "backward", "forward_keep", "backward_kept")
INFER_ROLES = ("prefill", "decode")


@dataclass(frozen=True)
class ProgramStages:
    """Stages of one program with their largest N, and how to walk them."""

    kind: Kind
    stages: tuple[tuple[Stage, int], ...]
    head: Stage
    block_methods: Callable[[str], dict[str, str]]


def _suffixed(stage: Stage, kind: str) -> Stage:
    return Stage(stage.name + kind, stage.inputs, stage.outputs, stage.function)


def _train_blocks(kind: str, block: Block, rows: int, keeping: bool) -> list[tuple[Stage, int]]:
    stages = [block.forward, backward_stage(block.forward, "block_backward", "hidden")]
    if keeping:
        stages += [block.forward_keep, backward_stage(block.forward_known, "block_backward_kept", "hidden")]
    return [(_suffixed(stage, kind), rows) for stage in stages]


def train_stages(decoder: Decoder, limits: Limits, keeping: bool = True) -> ProgramStages:
    """The stages of the training program; `keeping`: those that keep products for the backward among them."""
    rows = limits.train_t_max
    blocks = [pair for kind, block in decoder.blocks.items() for pair in _train_blocks(kind, block, rows, keeping)]
    stages = ((decoder.embed, rows), *blocks, (decoder.head_loss, rows))
    return ProgramStages(
        "train",
        stages,
        decoder.head_loss,
        lambda kind: {role: f"block_{role}{kind}" for role in (TRAIN_ROLES if keeping else TRAIN_ROLES[:2])},
    )


def _infer_blocks(kind: str, block: Block, rows: int, roles: tuple[str, ...]) -> list[tuple[Stage, int]]:
    stages = {"prefill": (block.prefill, rows), "keys": (block.keys, rows), "decode": (block.decode, 1)}
    return [(_suffixed(stage, kind), largest) for stage, largest in (stages[role] for role in roles)]


def infer_stages(decoder: Decoder, limits: Limits, keys: bool = True) -> ProgramStages:
    """The stages of the inference program; `keys`: for the last layer's kind that of keys and values alone, too."""
    rows = limits.prefill_t_max
    last = decoder.layer_kinds[-1] if keys else None
    roles = {kind: (*INFER_ROLES, *(("keys",) if kind == last else ())) for kind in decoder.blocks}
    blocks = [pair for kind, block in decoder.blocks.items() for pair in _infer_blocks(kind, block, rows, roles[kind])]
    stages = ((decoder.embed, rows), *blocks, (decoder.head, 1))
    return ProgramStages(
        "infer", stages, decoder.head, lambda kind: {role: f"block_{role}{kind}" for role in roles[kind]}
    )
