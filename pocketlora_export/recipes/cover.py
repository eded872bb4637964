"""Coverage of a model's stages on a backend, from its config: one layer of each kind is lowered, nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pocketlora_export.bundle.manifest import MANIFEST, Manifest
from pocketlora_export.bundle.reader import open_bundle
from pocketlora_export.errors import Status, raise_all
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.decoder import Decoder
from pocketlora_export.graphs.stage import Limits
from pocketlora_export.lower.backend import Backend
from pocketlora_export.lower.coverage import StageCoverage, largest_sizes, stage_coverage
from pocketlora_export.lower.spec import Kind
from pocketlora_export.lower.stages import ProgramStages, infer_stages, train_stages
from pocketlora_export.plan.config import open_config
from pocketlora_export.recipes import describe
from pocketlora_export.recipes.backends import chosen_backend
from pocketlora_export.recipes.recipe import Recipe, choose_targets

Step = Callable[[str], None]
KINDS: tuple[Kind, ...] = ("train", "infer")


def bundle_options(path: Path) -> dict[str, Any]:
    """What a bundle was made with, as options of a recipe; nothing for what is no bundle."""
    if not (path / MANIFEST).is_file():
        return {}
    manifest: Manifest = open_bundle(path).manifest
    limits, quant = manifest.limits, manifest.quantization
    ends = {role: getattr(quant, role).model_dump(include={"scheme", "group_size"}) for role in ("embedding", "head")}
    return {
        "quant": {"scheme": quant.scheme, "group_size": quant.group_size, **ends},
        "max_seq_len": limits.max_seq_len,
        "train_seq_len": limits.train_t_max,
        "prefill_seq_len": limits.prefill_t_max,
        "max_rank": limits.max_rank,
        "max_segments": limits.max_segments,
        "target_modules": manifest.adapter.target_modules,
    }


def cover(model: str, recipe: Recipe, name: str, kinds: tuple[Kind, ...], step: Step) -> list[StageCoverage]:
    """What of each stage of a model runs where.

    Args:
        model: folder with config.json, a path to one, or a hub id; a bundle is such a folder.
        recipe: what to lower.
        name: the backend.
        kinds: programs to look at.
        step: called with a short description of each step, `cover_steps` times.

    Raises:
        PocketLoraError: for the config, the recipe, or what the backend cannot do.
    """
    config, title = open_config(model)
    decoder, limits = _decoder(config, title, recipe), describe.limits_of(recipe)
    backend = chosen_backend(name, recipe)
    quantization = describe.quantization_of(recipe, decoder_model(config, title).facts.tie_word_embeddings)
    raise_all(Status.INPUT_UNSUPPORTED, "the backend cannot do this:", backend.problems(quantization))
    return [
        found for kind in kinds for found in _program(backend, _stages(kind, decoder, limits, backend), limits, step)
    ]


def cover_steps(kinds: tuple[Kind, ...]) -> int:
    """The number of steps at least: more where a model has several kinds of layers, or keeps products."""
    return 5 * len(kinds)


def _stages(kind: Kind, decoder: Decoder, limits: Limits, backend: Backend) -> ProgramStages:
    # A backend that lowers each layer has none of the methods that need not be there.
    further = backend.lower_decoder is None
    if kind == "infer":
        return infer_stages(decoder, limits, keys=further)
    return train_stages(decoder, limits, keeping=further)


def _decoder(config: Mapping[str, Any], name: str, recipe: Recipe) -> Decoder:
    model = decoder_model(config, name)
    targets = choose_targets(recipe, model.modules(), model.target_presets())
    quantization = describe.quantization_of(recipe, model.facts.tie_word_embeddings)
    return model.decoder(quantization, targets, recipe.max_seq_len)


def _program(backend: Backend, plan: ProgramStages, limits: Limits, step: Step) -> Iterator[StageCoverage]:
    captured = {}
    for stage, rows in plan.stages:
        step(f"{plan.kind}: {stage.name}")
        captured[stage.name] = backend.captured(stage, rows, limits)
    fixed = backend.trace_stage is not None
    sizes = {s.name: {} if fixed else largest_sizes(captured[s.name], s, rows, limits) for s, rows in plan.stages}
    step(f"{plan.kind}: lowering")
    edge = backend.to_edge(captured)
    yield from (stage_coverage(edge, stage, rows, sizes[stage.name]) for stage, rows in plan.stages)
