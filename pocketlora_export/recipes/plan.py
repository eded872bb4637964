"""From a recipe and a config to what a plan knows of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pocketlora_export.families.registry import decoder_model
from pocketlora_export.plan.model import PlannedModel, plan_stages
from pocketlora_export.recipes.describe import quantization_of
from pocketlora_export.recipes.recipe import Recipe, choose_targets


def plan_model(config: Mapping[str, Any], name: str, recipe: Recipe) -> PlannedModel:
    """Check a config against a recipe and capture its stages.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED for the config, UNKNOWN_TARGET_MODULE for the recipe.
    """
    model = decoder_model(config, name)
    targets = choose_targets(recipe, model.modules(), model.target_presets())
    return plan_stages(model, quantization_of(recipe, model.facts.tie_word_embeddings), targets)
