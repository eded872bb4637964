"""A plan has numbers for every family."""

from __future__ import annotations

import pytest

from pocketlora_export.plan.estimate import Inference, Machine, Training, inference, training
from pocketlora_export.recipes.plan import plan_model
from pocketlora_export.recipes.recipe import Recipe
from tests.support.published_configs import PUBLISHED

# Fused layers; layers with and without rotary embedding; the others run with the slow tests.
FAST = {"Phi-4-mini-instruct", "SmolLM3-3B"}
NAMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]


@pytest.mark.parametrize("name", NAMES)
def test_a_published_model_is_planned(name: str) -> None:
    config = PUBLISHED[name]
    model = plan_model(config, name, Recipe(target_modules=["attention"]))
    every = plan_model(config, name, Recipe())
    assert set(model.targets) < set(every.targets)
    step, text = Training(sequence=128, rank=8), Inference(context=1024, rank=8)
    for estimate in (training(every, step, Machine()), inference(every, text, Machine())):
        parts = estimate.parts
        needed = {"arena", "adapter", "scratch", "process"}
        assert {part for part in needed if parts[part] <= 0} == set()
    # Adapters on fewer layers take less, on disk and in training.
    assert training(model, step, Machine()).adapter < training(every, step, Machine()).adapter
    # 4 bits and a scale of 16 bits for 64 weights, and norms in fp32.
    weights = config["vocab_size"] * config["hidden_size"] * (1 if every.facts.tie_word_embeddings else 2)
    weights += sum(a * b for a, b in every.shape.sites)
    assert weights * 4.25 / 8 == pytest.approx(every.base_bytes, rel=0.02)


def test_windows_of_some_layers_keep_the_cache_of_the_others() -> None:
    """Gemma 3 sees 512 tokens in five layers of six."""
    config = {**PUBLISHED["gemma-3-1b-it"], "num_hidden_layers": 6, "vocab_size": 512}
    model = plan_model(config, "gemma", Recipe())
    assert model.shape.windows == (512,) * 5 + (None,)
    found = inference(model, Inference(context=8192, prefill=256), Machine()).kv_cache
    row = 2 * config["num_key_value_heads"] * config["head_dim"] * 4
    assert found == row * (5 * (512 + 256 + 64) + 8192)
