"""Families: keys that are not understood are refused by name, and what follows from a config that is understood."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.families.base import DecoderModel
from pocketlora_export.families.registry import FAMILIES, decoder_model, get_family
from pocketlora_export.recipes.recipe import Recipe, choose_targets
from tests.support.families import FAMILY_MODELS, MORE_FAMILY_MODELS, longrope
from tests.support.models import TinyModel
from tests.support.published_configs import PUBLISHED

ALL = {
    "llama": TinyModel(biases=True, llama3_rope=True),
    "mistral": TinyModel(window=9),
    **FAMILY_MODELS,
    **MORE_FAMILY_MODELS,
}
ONE_OF_EACH = {tiny.config().model_type: tiny for tiny in reversed(ALL.values())}


def config_of(tiny: TinyModel, **changes: Any) -> dict[str, Any]:
    """config.json of a test model, with some keys changed."""
    config = tiny.config()
    written = json.loads(config.to_json_string(use_diff=False))
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]
    return {**written, "architectures": [architecture], **changes}


def refusal(config: dict[str, Any]) -> list[str]:
    """The problems that a config is refused with, one a line."""
    with pytest.raises(PocketLoraError) as caught:
        get_family(config)
    assert caught.value.status is Status.INPUT_UNSUPPORTED
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_every_family_has_test_models() -> None:
    assert {config_of(tiny)["architectures"][0] for tiny in ALL.values()} == {f.architecture for f in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
def test_every_key_of_the_config_class_is_accounted_for(family: type[DecoderModel]) -> None:
    """A newer transformers with another key is noticed here, before a config has it."""
    config_class = getattr(transformers, family.architecture).config_class
    keys = set(config_class().to_dict()) - {"quantization_config"}
    assert {key for key in keys if not family.keys.knows(key)} == set()


@pytest.mark.parametrize("name", ALL)
def test_supported_configs_are_accepted(name: str) -> None:
    assert decoder_model(config_of(ALL[name]), name).facts.name == name


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_what_would_change_the_result_is_refused_by_name(kind: str) -> None:
    """Another activation, rope type and a key that nobody knows, all named at once."""
    config = config_of(
        ONE_OF_EACH[kind], mixture_of_depths=0.5, rope_parameters=None, rope_theta=None, rope_scaling=None
    )
    act = "hidden_activation" if "hidden_activation" in config else "hidden_act"
    config[act] = "relu"
    config["rope_scaling"] = {"rope_type": "dynamic", "factor": 2.0}
    found = refusal(config)
    assert len(found) == 3, found
    assert found[0] == "mixture_of_depths: not understood, found 0.5"
    assert found[1].startswith("rope_scaling.rope_type: expected one of default")
    assert found[1].endswith("found 'dynamic'")
    assert found[2].startswith(f"{act}: expected ")
    assert found[2].endswith(", found 'relu'")


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_parameter_that_the_rope_type_does_not_have_is_refused(kind: str) -> None:
    config = config_of(ONE_OF_EACH[kind], rope_parameters=None, rope_theta=None)
    config["rope_scaling"] = {"rope_type": "default", "rope_theta": 1e4, "high_freq_factor": 4.0}
    assert refusal(config) == ["rope_scaling.high_freq_factor: not understood with rope_type 'default', found 4.0"]


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("llama", {"pretraining_tp": 2}, "pretraining_tp: expected 1, found 2"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved: expected False, found True"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1.0, found 0.5"),
        ("llama", {"num_hidden_layers": 0}, "num_hidden_layers: expected a positive integer, found 0"),
        (
            "llama",
            {"num_key_value_heads": 3},
            "num_key_value_heads: expected a divisor of num_attention_heads 4, found 3",
        ),
        (
            "llama",
            {"num_key_value_heads": 0},
            "num_key_value_heads: expected a divisor of num_attention_heads 4, found 0",
        ),
        ("llama", {"head_dim": 5}, "transformers does not accept the config: "),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config: expected an unquantized checkpoint"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "layer_types: not understood, found"),
        ("mistral", {"sliding_window": 0}, "sliding_window: expected a positive integer or null, found 0"),
        ("qwen2", {"use_mrope": True}, "use_mrope: expected False, found True"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types: expected a list with an entry for each of the 2"),
        ("qwen2", {"layer_types": ["full_attention", "chunked"]}, "layer_types: expected 'full_attention' or"),
        (
            "qwen3",
            {"layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": False},
            "layer_types: sliding_attention needs use_sliding_window and a sliding_window",
        ),
        ("smollm3", {"no_rope_layers": [1, 2, 0, 1]}, "no_rope_layers: expected 0 or 1 for each of the 4 layers"),
        ("granite", {"logits_scaling": "8"}, "transformers does not accept the config: "),
        ("phi3", {"full_attn_mod": 2}, "full_attn_mod: expected 1, found 2"),
        ("phi3", {"attention_bias": True}, "attention_bias: expected False, found True"),
        ("phi3", longrope(96, 5), "transformers does not accept the config: "),
        ("olmo2", {"clip_qkv": 8.0}, "clip_qkv: not understood, found 8.0"),
        ("olmo", {"clip_qkv": 0}, "clip_qkv: expected a positive number or null, found 0"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention: expected False, found True"),
        ("gemma2", {"final_logit_softcapping": 0.0}, "final_logit_softcapping: expected a positive number or null"),
        ("gemma2", {"attn_logit_softcapping": -50.0}, "attn_logit_softcapping: expected a positive number or null"),
        ("gemma2", {"sliding_window": None}, "sliding_window: expected a positive integer for layers of sliding_atten"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar: expected a positive integer or null, found 0"),
        ("gemma2", {"rms_norm_offset": 0.5}, "rms_norm_offset: not understood, found 0.5"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: expected None, found 50.0"),
        ("gemma3_text", {"rope_parameters": {"rope_theta": 1e4}}, "rope_parameters: expected full_attention and slid"),
        ("phi", {"parallel_residual": False}, "parallel_residual: not understood, found False"),
    ],
)
def test_keys_of_a_family(kind: str, changes: dict[str, Any], expected: str) -> None:
    (found,) = refusal(config_of(ONE_OF_EACH[kind], **changes))
    assert found.startswith(expected)


def test_dropouts_of_the_base_are_told() -> None:
    model = decoder_model(config_of(ONE_OF_EACH["granite"], attention_dropout=0.1), "granite")
    assert model.notes == (
        "config.json: attention_dropout 0.1 is not applied in training (LoRA's own dropout is an option of train)",
    )


def test_longrope_follows_the_context() -> None:
    """The short factors up to the length that they were made for, the long ones beyond it; one factor for both."""
    config = config_of(ONE_OF_EACH["phi3"], **longrope(96, 8))
    model = decoder_model(config, "phi3")
    ((short,), (edge,), (long,)) = (model.rotary_tables(context) for context in (40, 96, 97))
    plain = 1e4 ** -(torch.arange(0, 16, 2) / 16)
    rope = longrope(96, 8)["rope_parameters"]
    torch.testing.assert_close(short.inv_freq, plain / torch.tensor(rope["short_factor"]))
    torch.testing.assert_close(long.inv_freq, plain / torch.tensor(rope["long_factor"]))
    assert torch.equal(short.inv_freq, edge.inv_freq)
    assert (
        short.scaling == long.scaling == pytest.approx((1 + torch.tensor(4.0).log() / torch.tensor(96.0).log()).sqrt())
    )


@pytest.mark.parametrize("name", ALL)
def test_presets_of_target_modules(name: str) -> None:
    model = decoder_model(config_of(ALL[name]), name)
    modules, presets = model.modules(), model.target_presets()

    def chosen(*names: str) -> tuple[str, ...]:
        return choose_targets(Recipe(target_modules=list(names)), modules, presets)

    assert chosen("all-linear") == modules == ALL[name].target_modules
    attention = chosen("attention")
    assert attention == tuple(site.module for site in model.sites(modules) if site.layer == 0 and "attn" in site.name)
    assert chosen("attention", modules[-1]) == (*attention, modules[-1])
    with pytest.raises(PocketLoraError, match="attention, all-linear"):
        chosen("mlp")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_are_understood(name: str) -> None:
    """Keys as the makers write them; every tensor of the reference model is known, and no other."""
    config = PUBLISHED[name]
    model = decoder_model(config, name)
    assert len(model.layer_kinds()) == config["num_hidden_layers"]
    with torch.device("meta"):
        reference = AutoModelForCausalLM.from_config(type(model.config).from_dict(config))
    expected = {key: tuple(value.shape) for key, value in reference.state_dict().items()}
    if model.facts.tie_word_embeddings:
        del expected["lm_head.weight"]
    assert {weight.name: weight.shape for weight in model.weights()} == expected
