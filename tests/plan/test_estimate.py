"""Formulas by hand, devices, and the largest settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.plan import memory
from pocketlora_export.plan.devices import Device, device_names, load_device
from pocketlora_export.plan.estimate import PARTS, Inference, Machine, Training, inference, training
from pocketlora_export.plan.fit import largest_inference, largest_that, largest_training, with_kept_blocks
from pocketlora_export.plan.kernels import Scratch, Setting, run
from pocketlora_export.plan.model import PlannedModel
from pocketlora_export.recipes.plan import plan_model
from pocketlora_export.recipes.recipe import Recipe

ONE_THREAD = Machine(threads=1)
SHAPE = memory.Shape(
    hidden_size=1024,
    num_layers=3,
    num_kv_heads=2,
    head_dim=64,
    rope_width=64,
    vocab_size=4096,
    windows=(None,) * 3,
    sites=((1024, 2048),) * 6,
)


@pytest.fixture(scope="module")
def model() -> PlannedModel:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }
    return plan_model(config, "small", Recipe())


def test_formats_by_hand() -> None:
    state = 256 * 1024
    assert memory.block_inputs(SHAPE, 256) == 4 * state * 4
    assert memory.block_inputs(SHAPE, 256, 2) == 2 * state * 4 + 2 * state * 2
    assert memory.cache_row(SHAPE) == 2 * 64 * 4
    assert memory.cache_row(SHAPE, "fp16") == 2 * 64 * 2
    assert memory.cache_row(SHAPE, "int8") == 2 * (64 + 4)
    assert memory.kv_cache(SHAPE, 1024, "fp16") == 2 * 3 * 1024 * 256
    assert memory.parameters(SHAPE, 8) == 6 * 8 * (1024 + 2048)
    elements = 6 * 8 * 3072
    found = {kind: memory.optimizer(SHAPE, 8, kind) for kind in ("sgd", "sgd-momentum", "lion", "adamw", "adamw-8bit")}
    whole = {"sgd": 0, "sgd-momentum": 4 * elements, "lion": 4 * elements, "adamw": 8 * elements}
    assert found == whole | {"adamw-8bit": 2 * (elements + 4 * elements // 256)}
    assert memory.gradients(SHAPE, 8, 1) == memory.adapter(SHAPE, 8)
    assert memory.gradients(SHAPE, 8, 2) == memory.adapter(SHAPE, 8) + 2 * 8 * 3072 * 4


def test_parts_add_up(model: PlannedModel) -> None:
    estimate = training(model, Training(64, 2, 8), ONE_THREAD)
    assert estimate.anonymous == sum(estimate.parts.values())
    assert set(estimate.parts) == set(PARTS)
    assert estimate.kv_cache == 0
    assert estimate.file > model.base_bytes


def _block_scratch(model: PlannedModel, dropout: bool) -> int:
    scratch = Scratch(Setting(dropout=dropout))
    (block,) = (trace for trace in model.train.traces if trace.name == "block_backward")
    run(scratch, block.calls, {"N": 256, "S1": 2, "R": 8})
    return scratch.held(1)


def test_what_each_choice_changes(model: PlannedModel) -> None:
    base = training(model, Training(256, 1, 8), ONE_THREAD)
    assert training(model, Training(64, 4, 8), ONE_THREAD).block_inputs == base.block_inputs
    sgd = training(model, Training(256, 1, 8, "sgd"), ONE_THREAD)
    assert sgd.anonymous == base.anonymous - base.optimizer
    half = training(model, Training(256, 1, 8, activations="fp16"), ONE_THREAD)
    assert half.anonymous - base.anonymous == half.block_inputs - base.block_inputs < 0
    more = training(model, Training(256, 1, 8), Machine(threads=4))
    assert more.scratch > base.scratch
    assert more.arena == base.arena
    masked = training(model, Training(256, 1, 8, dropout=True), ONE_THREAD)
    assert masked.scratch >= base.scratch  # the head's may be larger than both
    assert _block_scratch(model, dropout=True) > _block_scratch(model, dropout=False)
    caches = [inference(model, Inference(2048, cache), ONE_THREAD).kv_cache for cache in ("fp32", "fp16", "int8")]
    assert caches[0] == 2 * caches[1] > 2 * caches[2]


def test_kept_products(model: PlannedModel) -> None:
    """Gate and up, f32 [N, I] each: kept beside the blocks' inputs, and no longer in the arena while they are read."""
    assert model.kept_columns == (2 * 256,) * 4
    full, kept = (training(model, Training(256, 1, 8, recompute=r), ONE_THREAD) for r in ("full", "selective"))
    assert kept.block_inputs - full.block_inputs == 4 * 256 * 2 * 256 * 4
    assert kept.arena < full.arena
    room = Training(256, 1, 8, recompute="auto", kept_blocks=2)
    phone = device(training(model, room, ONE_THREAD).anonymous)
    assert with_kept_blocks(model, Training(256, 1, 8, recompute="auto"), phone, ONE_THREAD) == room
    assert with_kept_blocks(model, Training(256, 1, 8), phone, ONE_THREAD).kept_blocks == 0


@pytest.mark.parametrize("most", [0, 1, 5, 64, 1000])
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 63, 64, 65, 1000, 1001])
def test_search(limit: int, most: int) -> None:
    assert largest_that(lambda n: n <= limit, most) == min(limit, most)


def device(anonymous: int) -> Device:
    mb = anonymous / 1e6
    return Device(name="test", ram_mb=1e6, anonymous_mb=mb, file_mb=1e5, threads=1)


def test_the_largest_fits_and_one_more_does_not(model: PlannedModel) -> None:
    wanted = Training(1, 1, 8)
    phone = device(training(model, Training(700, 1, 8), ONE_THREAD).anonymous)
    found = largest_training(model, wanted, phone, ONE_THREAD)
    assert found == Training(700, 1, 8)
    roomy = device(training(model, Training(4096, 3, 8), ONE_THREAD).anonymous)
    assert largest_training(model, wanted, roomy, ONE_THREAD) == Training(4096, 3, 8)
    full = inference(model, Inference(1500, rank=8), ONE_THREAD)
    context = largest_inference(model, Inference(1, rank=8), device(full.anonymous), ONE_THREAD)
    assert context is not None
    assert context.context >= 1500
    longer = inference(model, dataclasses.replace(context, context=context.context + 1), ONE_THREAD)
    assert longer.anonymous > full.anonymous


def test_nothing_fits(model: PlannedModel) -> None:
    assert largest_training(model, Training(1, 1, 8), device(1000), ONE_THREAD) is None
    assert largest_inference(model, Inference(1), device(1000), ONE_THREAD) is None


def test_the_profiles() -> None:
    assert {"galaxy-s23", "galaxy-s24", "galaxy-s25"} <= set(device_names())
    for name in device_names():
        profile = load_device(name)
        assert 0 < profile.anonymous_mb < profile.ram_mb
        assert profile.anonymous_mb + profile.file_mb < profile.ram_mb


def test_an_unknown_device() -> None:
    with pytest.raises(PocketLoraError) as caught:
        load_device("galaxy-s99")
    assert caught.value.status is Status.INPUT_MISSING
    assert "galaxy-s23, galaxy-s24, galaxy-s25" in str(caught.value)


BAD_KEYS = "name: x\nram_mb: -1\nfile_mb: 3\nthreads: 0\ncolour: red\n"
TOO_MUCH = "name: x\nram_mb: 100\nanonymous_mb: 200\nfile_mb: 3\nthreads: 8\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BAD_KEYS, ["ram_mb", "anonymous_mb: missing", "threads", "colour: unknown key"]),
        (TOO_MUCH, ["anonymous_mb: 200 is more than ram_mb 100"]),
        ("- a\n", ["expected keys and values, found list"]),
        ("a: [\n", ["not YAML"]),
    ],
)
def test_a_bad_device_file(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "phone.yaml"
    path.write_text(text)
    with pytest.raises(PocketLoraError) as caught:
        load_device(str(path))
    assert caught.value.status is Status.INPUT_MALFORMED
    for part in [str(path), *told]:
        assert part in str(caught.value)
