"""What a plan needs to know of a model, from its config alone: facts, files, and the traces of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlora_export.families.base import DecoderModel, ModelFacts
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.graphs.trace import StageTrace, trace
from pocketlora_export.graphs.weights import Quantization
from pocketlora_export.lower.stages import infer_stages, train_stages
from pocketlora_export.plan.arena import PAGE, round_up
from pocketlora_export.plan.memory import Shape, shape_of
from pocketlora_export.quantize.stored import StoredTensor

# Bounds for the capture alone; a plan puts numbers in their place.
_ROWS, _RANK, _SEGMENTS = 1 << 20, 1 << 12, 1 << 12
# Bytes of base.ptd's table for one tensor, beside its name.
_TABLE_ENTRY = 96


@dataclass(frozen=True)
class PlannedStage:
    """A stage as captured, and the number of its inputs and outputs."""

    trace: StageTrace
    ports: int


@dataclass(frozen=True)
class PlannedProgram:
    """Stages of a program."""

    stages: tuple[PlannedStage, ...]

    @property
    def traces(self) -> tuple[StageTrace, ...]:
        """All of them as captured."""
        return tuple(stage.trace for stage in self.stages)

    @property
    def ports(self) -> int:
        """Inputs and outputs of all stages together."""
        return sum(stage.ports for stage in self.stages)

    def walked(self, kept_blocks: int, num_layers: int) -> PlannedProgram:
        """What of a training program runs when so many blocks keep products for the backward."""
        keeping = ("block_forward_keep", "block_backward_kept")

        def runs(name: str) -> bool:
            if name.startswith(keeping):
                return kept_blocks > 0
            return not name.startswith("block_") or kept_blocks < num_layers

        return PlannedProgram(tuple(stage for stage in self.stages if runs(stage.trace.name)))


@dataclass(frozen=True)
class PlannedModel:
    """A model as a plan sees it. `base_bytes`: size of base.ptd, which holds `num_tensors`.

    `kept_columns`: of the products that each layer can keep for the backward.
    """

    facts: ModelFacts
    quantization: Quantization
    shape: Shape
    targets: tuple[str, ...]
    base_bytes: int
    num_tensors: int
    kept_columns: tuple[int, ...]
    train: PlannedProgram
    infer: PlannedProgram


def open_model(
    config: Mapping[str, Any], name: str, quantization: Quantization, targets: Sequence[str] | None = None
) -> PlannedModel:
    """Check a config and capture its stages; arguments as for `plan_stages`.

    Args:
        config: config.json.
        name: the model's name.
        quantization: how the base is stored.
        targets: linear modules with adapters, checked; None = all.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED with every key that no family understands.
    """
    model = decoder_model(config, name)
    return plan_stages(model, quantization, model.modules() if targets is None else targets)


def plan_stages(model: DecoderModel, quantization: Quantization, targets: Sequence[str]) -> PlannedModel:
    """Capture a model's stages; seconds, whatever its depth."""
    facts = model.facts
    stored = [StoredTensor(w.name, w.shape, quantization.spec(w) if w.quantized else None) for w in model.weights()]
    decoder = model.decoder(quantization, targets, facts.max_position_embeddings)
    sites = [(site.in_features, site.out_features) for site in model.sites(targets)]
    return PlannedModel(
        facts=facts,
        quantization=quantization,
        shape=shape_of(facts, sites, decoder.windows),
        targets=tuple(targets),
        base_bytes=base_bytes(stored),
        num_tensors=len(stored),
        kept_columns=tuple(_kept_columns(decoder.blocks[kind].forward_keep) for kind in decoder.layer_kinds),
        train=_program(train_stages(decoder, _limits(facts)).stages, _limits(facts)),
        infer=_program(infer_stages(decoder, _limits(facts)).stages, _limits(facts)),
    )


def base_bytes(tensors: Sequence[StoredTensor]) -> int:
    """Size of base.ptd: a table, then every tensor at a multiple of 4096 bytes."""
    table = sum(_TABLE_ENTRY + len(tensor.name) for tensor in tensors)
    whole = sum(round_up(tensor.nbytes, PAGE) for tensor in tensors[:-1])
    return round_up(table, PAGE) + whole + tensors[-1].nbytes


def _limits(facts: ModelFacts) -> Limits:
    return Limits(
        max_seq_len=max(facts.max_position_embeddings, 4),
        train_t_max=_ROWS,
        prefill_t_max=_ROWS,
        max_rank=_RANK,
        max_segments=_SEGMENTS,
    )


def _program(stages: Sequence[tuple[Stage, int]], limits: Limits) -> PlannedProgram:
    return PlannedProgram(
        tuple(
            PlannedStage(trace(capture(stage, rows, limits), stage, rows), len(stage.inputs) + len(stage.outputs))
            for stage, rows in stages
        )
    )


def _kept_columns(stage: Stage) -> int:
    """Of the products that a stage puts out beside its hidden state."""
    return sum(int(output.shape[-1]) for output in stage.outputs[1:])
