"""Which keys of a config.json a family understands. What it does not understand is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
# Read by every family.
_COMMON = frozenset(
    {
        *REQUIRED, "architectures", "model_type", "num_key_value_heads", "head_dim", "max_position_embeddings",
        "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "hidden_act",
        "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor",
    }
)  # fmt: skip
# Where a model came from, how it was initialized, what calls return, how text is sampled: no influence on logits.
_IGNORED = frozenset(
    {
        "_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype", "auto_map", "use_cache",
        "initializer_range", "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
        "_flash_attn_2_enabled", "output_attentions", "output_hidden_states", "return_dict", "return_dict_in_generate",
        "id2label", "label2id", "num_labels", "problem_type", "task_specific_params", "finetuning_task",
        "tokenizer_class", "prefix", "torchscript", "use_bfloat16", "is_decoder", "tie_encoder_decoder",
        "transformers.js_config", "unsloth_version", "unsloth_fixed", "keys_to_ignore_at_inference",
        "sep_token_id", "cls_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
        "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
        "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
        "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
        "output_scores", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
        "begin_suppress_tokens", "cross_attention_hidden_size",
    }
)  # fmt: skip
_EXPECTED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "pruned_heads": ({}, []),
}
# Of the base model: never applied, and said so where they are not zero.
DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop")


@dataclass(frozen=True)
class ConfigKeys:
    """What a family does with the keys of its config beyond those of all families.

    `understood`: the family reads them. `expected`: the values that are supported. `ignored`: they change no result.
    """

    understood: frozenset[str] = frozenset()
    expected: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def knows(self, key: str) -> bool:
        """Whether a key is accounted for, whatever its value."""
        known = _COMMON | _IGNORED | self.understood | self.ignored
        return key in known or key in _EXPECTED or key in self.expected or key in DROPOUTS

    def problems(self, config: Mapping[str, Any]) -> list[str]:
        """Every key whose value is not supported, and every unknown key that is not null."""
        expected = {**_EXPECTED, **self.expected}
        problems = [
            f"{key}: expected {' or '.join(map(repr, values))}, found {shown(config[key])}"
            for key, values in expected.items()
            if config.get(key) is not None and config[key] not in values
        ]
        problems += required_problems(config)
        if config.get("quantization_config"):
            problems.append("quantization_config: expected an unquantized checkpoint")
        unknown = (key for key in sorted(config) if not self.knows(key) and key != "quantization_config")
        problems += [f"{key}: not understood, found {shown(config[key])}" for key in unknown if config[key] is not None]
        return problems


def shown(value: object) -> str:
    """A value for a message, cut to a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def required_problems(config: Mapping[str, Any]) -> list[str]:
    """Sizes that are missing or no sizes."""
    return [
        f"{key}: expected a positive integer, found {shown(config.get(key))}"
        for key in REQUIRED
        if not is_size(config.get(key))
    ]


def is_size(value: object) -> bool:
    """A positive integer, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def optional_size(config: Mapping[str, Any], key: str) -> list[str]:
    """A problem where a key is there, not null and no positive integer."""
    value = config.get(key)
    if value is None or is_size(value):
        return []
    return [f"{key}: expected a positive integer or null, found {shown(value)}"]


def list_problems(config: Mapping[str, Any], key: str, values: Sequence[object]) -> list[str]:
    """Problems of a list with one entry a layer, where it is given: its length, entries other than `values`."""
    found = config.get(key)
    if found is None:
        return []
    layers = config.get("num_hidden_layers")
    if not isinstance(found, list) or len(found) != layers:
        return [f"{key}: expected a list with an entry for each of the {layers} layers, found {shown(found)}"]
    unknown = sorted({repr(entry) for entry in found if entry not in values})
    choices = " or ".join(map(repr, values))
    return [f"{key}: expected {choices} for each layer, found {', '.join(unknown)}"] if unknown else []


def dropout_notes(config: Mapping[str, Any]) -> list[str]:
    """What to tell of dropouts that are not applied."""
    return [
        f"config.json: {key} {config[key]} is not applied in training (LoRA's own dropout is an option of train)"
        for key in DROPOUTS
        if config.get(key)
    ]
