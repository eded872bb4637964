"""Llama 2 / 3.x: RMSNorm, rotary GQA attention, SwiGLU, optional biases, tied or untied head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from pocketlora_export.families.base import (
    ModelFacts,
    Quantization,
    WeightSpec,
)
from pocketlora_export.graphs.decoder import Block, Decoder, LoraSite
from pocketlora_export.graphs.parts.attention import SelfAttention
from pocketlora_export.graphs.parts.block import PreNormBlock
from pocketlora_export.graphs.parts.ends import Head, embed_stage
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.parts.mlp import GatedMlp
from pocketlora_export.graphs.parts.norm import RmsNorm

_MODULES = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}
_REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
# Rotary frequencies of these types do not depend on the sequence length, so they can be a constant of the program.
_ROPE_TYPES = ("default", "llama3", "linear")
_ROPE_KEYS = {"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
              "original_max_position_embeddings"}  # fmt: skip


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary parameters of either dialect: `rope_parameters`, or `rope_theta` + `rope_scaling`."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found.setdefault("rope_type", found.pop("type", "default"))
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return found


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (int(value),)


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _expect(config: Mapping[str, Any], key: str, expected: Any, default: Any) -> list[str]:
    found = config.get(key, default)
    return [] if found == expected else [f"{key}: expected {expected!r}, found {found!r}"]


def _missing(config: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: expected a positive integer, found {config.get(key)!r}"
        for key in _REQUIRED
        if not (isinstance(config.get(key), int) and config[key] > 0)
    ]


def _rope_problems(config: Mapping[str, Any]) -> list[str]:
    rope = _rope_parameters(config)
    problems = []
    if rope["rope_type"] not in _ROPE_TYPES:
        problems.append(
            f"rope_scaling.rope_type: expected one of {', '.join(_ROPE_TYPES)}, found {rope['rope_type']!r}"
        )
    problems += [f"rope_scaling.{key}: not understood" for key in sorted(set(rope) - _ROPE_KEYS)]
    return problems


def _head_problems(config: Mapping[str, Any]) -> list[str]:
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    problems = []
    if heads % kv_heads:
        problems.append(f"num_key_value_heads: expected a divisor of num_attention_heads {heads}, found {kv_heads}")
    if _head_dim(config) % 2:
        problems.append(f"head_dim: expected an even number, found {_head_dim(config)}")
    return problems


def _rotary(facts: ModelFacts) -> tuple[Tensor, float]:
    """Frequencies f32 [D/2] and the factor on cos and sin, from the reference implementation itself."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=facts.hidden_size,
        num_attention_heads=facts.num_heads,
        head_dim=facts.head_dim,
        max_position_embeddings=facts.max_position_embeddings,
        rope_parameters={"rope_theta": facts.rope_theta, "rope_type": "default", **(facts.rope_scaling or {})},
    )
    embedding = LlamaRotaryEmbedding(config)
    return embedding.inv_freq.float().clone(), float(embedding.attention_scaling)


class LlamaFamily:
    """Hugging Face `LlamaForCausalLM`."""

    architectures: tuple[str, ...] = ("LlamaForCausalLM",)

    def check_config(self, config: Mapping[str, Any]) -> list[str]:
        """See `Family.check_config`."""
        problems = _missing(config)
        problems += _expect(config, "hidden_act", "silu", "silu")
        problems += _expect(config, "pretraining_tp", 1, 1)
        problems += _rope_problems(config)
        if config.get("quantization_config"):
            problems.append("quantization_config: expected an unquantized checkpoint")
        if not _missing(config):
            problems += _head_problems(config)
        return problems

    def facts(self, config: Mapping[str, Any], name: str) -> ModelFacts:
        """See `Family.facts`."""
        rope = _rope_parameters(config)
        theta = float(rope.pop("rope_theta"))
        heads = config["num_attention_heads"]
        return ModelFacts(
            family="llama",
            architecture="LlamaForCausalLM",
            name=name,
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_layers=config["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=_head_dim(config),
            vocab_size=config["vocab_size"],
            max_position_embeddings=config.get("max_position_embeddings", 2048),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=theta,
            rope_scaling=None if rope["rope_type"] == "default" else rope,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            attention_bias=bool(config.get("attention_bias", False)),
            mlp_bias=bool(config.get("mlp_bias", False)),
            bos_token_id=config.get("bos_token_id"),
            eos_token_ids=_ids(config.get("eos_token_id")),
            pad_token_id=config.get("pad_token_id"),
        )

    def modules(self, facts: ModelFacts) -> tuple[str, ...]:
        """See `Family.modules`: the same seven in every Llama."""
        del facts
        return tuple(_MODULES)

    def _shape(self, facts: ModelFacts, module: str) -> tuple[int, int]:
        """(out_features, in_features)."""
        hidden, inner = facts.hidden_size, facts.intermediate_size
        queries, keys = facts.num_heads * facts.head_dim, facts.num_kv_heads * facts.head_dim
        return {
            "q_proj": (queries, hidden),
            "k_proj": (keys, hidden),
            "v_proj": (keys, hidden),
            "o_proj": (hidden, queries),
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "down_proj": (hidden, inner),
        }[module]

    def _has_bias(self, facts: ModelFacts, module: str) -> bool:
        return facts.mlp_bias if _MODULES[module] == "mlp" else facts.attention_bias

    def _layer_weights(self, facts: ModelFacts, layer: int) -> list[WeightSpec]:
        prefix, hidden = f"model.layers.{layer}.", (facts.hidden_size,)
        weights = [WeightSpec(f"{prefix}input_layernorm.weight", hidden, "norm")]
        for module, parent in _MODULES.items():
            if module == "gate_proj":
                weights.append(WeightSpec(f"{prefix}post_attention_layernorm.weight", hidden, "norm"))
            shape = self._shape(facts, module)
            weights.append(WeightSpec(f"{prefix}{parent}.{module}.weight", shape, "linear"))
            if self._has_bias(facts, module):
                weights.append(WeightSpec(f"{prefix}{parent}.{module}.bias", shape[:1], "bias"))
        return weights

    def weights(self, facts: ModelFacts) -> list[WeightSpec]:
        """See `Family.weights`."""
        table = (facts.vocab_size, facts.hidden_size)
        weights = [WeightSpec("model.embed_tokens.weight", table, "embedding")]
        for layer in range(facts.num_layers):
            weights += self._layer_weights(facts, layer)
        weights.append(WeightSpec("model.norm.weight", (facts.hidden_size,), "norm"))
        if not facts.tie_word_embeddings:
            weights.append(WeightSpec("lm_head.weight", table, "head"))
        return weights

    def sites(self, facts: ModelFacts, targets: Collection[str]) -> list[LoraSite]:
        """See `Family.sites`."""
        return [
            LoraSite(f"model.layers.{layer}.{parent}.{module}", layer, module, shape[1], shape[0])
            for layer in range(facts.num_layers)
            for module, parent in _MODULES.items()
            if module in targets
            for shape in (self._shape(facts, module),)
        ]

    def _block(self, facts: ModelFacts, quantization: Quantization, targets: Collection[str]) -> PreNormBlock:
        def linear(module: str) -> Linear:
            name, shape = f"{_MODULES[module]}.{module}", self._shape(facts, module)
            spec = quantization.spec(WeightSpec(name, shape, "linear"))
            site = list(_MODULES).index(module)
            return Linear(name, spec, self._has_bias(facts, module), module in targets, site)

        q, k, v, o, gate, up, down = (linear(module) for module in _MODULES)
        return PreNormBlock(
            RmsNorm("input_layernorm", facts.hidden_size, facts.rms_norm_eps),
            SelfAttention(q, k, v, o, facts.head_dim, facts.sliding_window),
            RmsNorm("post_attention_layernorm", facts.hidden_size, facts.rms_norm_eps),
            GatedMlp(gate, up, down),
            facts.hidden_size,
            facts.num_kv_heads * facts.head_dim,
        )

    def decoder(self, facts: ModelFacts, quantization: Quantization, targets: Collection[str]) -> Decoder:
        """See `Family.decoder`."""
        table = quantization.spec(
            WeightSpec("model.embed_tokens.weight", (facts.vocab_size, facts.hidden_size), "embedding")
        )
        tied = facts.tie_word_embeddings
        matrix = table if tied else quantization.spec(WeightSpec("", (facts.vocab_size, facts.hidden_size), "head"))
        head = Head(RmsNorm("norm", facts.hidden_size, facts.rms_norm_eps), matrix)
        block = self._block(facts, quantization, targets)
        return Decoder(
            embed=embed_stage(table, *_rotary(facts)),
            head_loss=head.loss_stage(),
            head=head.logits_stage(),
            blocks={
                "": Block(
                    block.forward_stage(),
                    block.cached_stage("prefill"),
                    block.cached_stage("decode"),
                    facts.sliding_window,
                )
            },
            layer_kinds=("",) * facts.num_layers,
            weight_names={
                "embed_tokens.weight": "model.embed_tokens.weight",
                "norm.weight": "model.norm.weight",
                "lm_head.weight": "model.embed_tokens.weight" if tied else "lm_head.weight",
            },
        )
