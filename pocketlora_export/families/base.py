"""What a model family tells the toolchain: facts, weights, LoRA sites and stages, from one description of a layer."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pocketlora_export.families.config_keys import ConfigKeys, dropout_notes, required_problems
from pocketlora_export.families.rotary import ROPE_TYPES, rope_parameters, rope_problems, rotary_table
from pocketlora_export.graphs.decoder import Decoder, LoraSite
from pocketlora_export.graphs.parts.block import DecoderBlock
from pocketlora_export.graphs.parts.ends import Embedding, Head, RotaryTable
from pocketlora_export.graphs.parts.linear import Linear
from pocketlora_export.graphs.parts.norm import Norm, RmsNorm
from pocketlora_export.graphs.weights import Quantization, QuantScheme, WeightSpec

# Names and shapes of tensors do not depend on how they are stored.
_ANY = Quantization(*[QuantScheme("nf4", 64)] * 3)


@dataclass(frozen=True)
class RopeFacts:
    """A rotary table: its name, columns (entries of a head that it rotates), base, and scaling (null = none)."""

    name: str
    dim: int
    theta: float
    scaling: dict[str, Any] | None


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a decoder as written in the manifest's `model`.

    `sliding_window`: of the layers that have one (the stages say which); None = no layer has.
    """

    family: str
    architecture: str
    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    norm_eps: float
    rope: tuple[RopeFacts, ...]
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...] = field(default=())
    pad_token_id: int | None = None
    sliding_window: int | None = None


class Linears:
    """Makes the linear layers of a block, in layer order: stored form, LoRA site or none, number of the site."""

    def __init__(self, quantization: Quantization, targets: Collection[str] | None) -> None:
        self._scheme, self._targets, self._count = quantization.linear, targets, 0

    def __call__(self, name: str, in_features: int, out_features: int, bias: bool = False) -> Linear:
        """A linear layer. `name` is relative to the layer ("self_attn.q_proj")."""
        site, self._count = self._count, self._count + 1
        lora = self._targets is None or name.rpartition(".")[2] in self._targets
        return Linear(name, self._scheme.spec(out_features, in_features), bool(bias), lora, site)


class DecoderModel(ABC):
    """A model of a family, from its config.json. A family says which keys it understands, and what a layer is.

    Args:
        config: config.json, checked (`check_config`).
        name: the model's name.
    """

    family: ClassVar[str]
    architecture: ClassVar[str]
    keys: ClassVar[ConfigKeys]
    rope_types: ClassVar[tuple[str, ...]] = ROPE_TYPES
    partial_rotary: ClassVar[bool] = False
    activations: ClassVar[tuple[str, ...]] = ("silu",)

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.config: Any = self._parse(config)
        self.notes = tuple(dropout_notes(config))
        self.facts = self._facts(name)

    # What a family may say otherwise.

    @abstractmethod
    def block(self, kind: str, linear: Linears) -> DecoderBlock:
        """One kind of decoder layer; its linear layers are made in layer order."""

    def layer_kinds(self) -> Sequence[str]:
        """The kind of each layer."""
        layers: int = self.config.num_hidden_layers
        return ("full",) * layers

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """Problems of the family's own keys: key, what was expected, what was found."""
        del config
        return []

    def rotary_tables(self, context: int) -> list[RotaryTable]:
        """The rotary tables that the blocks read, for texts of at most `context` tokens."""
        return [rotary_table(self._model_class(), self.config, "rope", context)]

    def rope_facts(self) -> list[RopeFacts]:
        """The same for the manifest."""
        return [rope_facts_of(table, rope_parameters(self.config)) for table in self.rotary_tables(1)]

    def final_norm(self) -> Norm:
        """The norm before the head, named relative to the model."""
        return RmsNorm("norm", self.config.hidden_size, self.config.rms_norm_eps)

    @property
    def norm_eps(self) -> float:
        """What the norms add to a mean square."""
        names = ("rms_norm_eps", "layer_norm_eps")
        return float(next(getattr(self.config, name) for name in names if hasattr(self.config, name)))

    @property
    def embedding_scale(self) -> float:
        """What embedded rows are multiplied with."""
        return 1.0

    @property
    def logits_scale(self) -> float:
        """What logits are multiplied with."""
        return 1.0

    @property
    def logits_softcap(self) -> float:
        """A bound that logits approach; 0 = none."""
        return 0.0

    @property
    def head_bias(self) -> bool:
        """Whether the head has a bias."""
        return False

    @property
    def sliding_window(self) -> int | None:
        """Of the layers that have one."""
        return None

    # What follows from it.

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> list[str]:
        """Problems that make a config unsupported: key, what was expected, what was found. Empty = supported."""
        problems = cls.keys.problems(config) + rope_problems(config, cls.rope_types, cls.partial_rotary)
        for key in ("hidden_act", "hidden_activation"):
            if config.get(key) and config[key] not in cls.activations:
                expected = " or ".join(map(repr, cls.activations))
                problems.append(f"{key}: expected {expected}, found {config[key]!r}")
        problems += cls.check_values(config)
        try:
            problems += [] if required_problems(config) else _head_problems(cls._parse(config))
            if not problems:
                cls(config, "")
        except Exception as error:  # noqa: BLE001 -- each model's config raises what it likes
            reason = " ".join(str(error).split())
            # Often the consequence of a problem that has a name already.
            problems = problems or [f"transformers does not accept the config: {reason or type(error).__name__}"]
        return problems

    @classmethod
    def _model_class(cls) -> Any:
        import transformers

        return getattr(transformers, cls.architecture)

    @classmethod
    def _parse(cls, config: Mapping[str, Any]) -> Any:
        """transformers' own config: its defaults for what is left out, and one form of what has several."""
        return cls._model_class().config_class.from_dict(copy.deepcopy(dict(config)))

    def _facts(self, name: str) -> ModelFacts:
        config = self.config
        return ModelFacts(
            family=self.family,
            architecture=self.architecture,
            name=name,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_dim=self.head_dim,
            vocab_size=config.vocab_size,
            max_position_embeddings=config.max_position_embeddings,
            norm_eps=self.norm_eps,
            rope=tuple(self.rope_facts()),
            tie_word_embeddings=bool(config.tie_word_embeddings),
            bos_token_id=config.bos_token_id,
            eos_token_ids=_ids(config.eos_token_id),
            pad_token_id=config.pad_token_id,
            sliding_window=self.sliding_window,
        )

    @property
    def head_dim(self) -> int:
        """Entries of a head."""
        return _head_dim(self.config)

    def modules(self) -> tuple[str, ...]:
        """Names of the linear modules of a layer that can carry an adapter, in layer order."""
        return tuple(dict.fromkeys(linear.module for block in self._blocks().values() for linear in block.linears()))

    def target_presets(self) -> dict[str, tuple[str, ...]]:
        """Names that stand for several modules."""
        linears = [linear for block in self._blocks().values() for linear in block.linears()]
        attention = [linear.module for linear in linears if linear.name.startswith("self_attn.")]
        return {"attention": tuple(dict.fromkeys(attention)), "all-linear": self.modules()}

    def weights(self) -> list[WeightSpec]:
        """Every tensor of the checkpoint, by its Hugging Face name in the order of base.ptd. No tied head."""
        blocks = self._blocks()
        table = (self.facts.vocab_size, self.facts.hidden_size)
        weights = [WeightSpec("model.embed_tokens.weight", table, "embedding")]
        for layer, kind in enumerate(self.layer_kinds()):
            weights += [_prefixed(weight, f"model.layers.{layer}.") for weight in blocks[kind].weights()]
        weights += [_prefixed(weight, "model.") for weight in self.final_norm().weights()]
        if not self.facts.tie_word_embeddings:
            weights.append(WeightSpec("lm_head.weight", table, "head"))
        return [*weights, WeightSpec("lm_head.bias", table[:1], "bias")] if self.head_bias else weights

    def sites(self, targets: Collection[str]) -> list[LoraSite]:
        """LoRA sites in layer order, then in module order."""
        blocks = self._blocks()
        return [
            LoraSite(f"model.layers.{layer}.{linear.name}", layer, linear.module, linear.spec.cols, linear.spec.rows)
            for layer, kind in enumerate(self.layer_kinds())
            for linear in blocks[kind].linears()
            if linear.module in targets
        ]

    def decoder(self, quantization: Quantization, targets: Collection[str], context: int) -> Decoder:
        """The stages, for texts of at most `context` tokens."""
        tied, table = self.facts.tie_word_embeddings, (self.facts.vocab_size, self.facts.hidden_size)
        embedding = quantization.embedding.spec(*table)
        norm = self.final_norm()
        matrix = embedding if tied else quantization.head.spec(*table)
        head = Head(norm, matrix, self.logits_scale, self.logits_softcap, self.head_bias)
        blocks, kinds = self._blocks(quantization, targets), self.layer_kinds()
        # One kind of layer needs no suffix.
        suffix = {kind: f"_{kind}" if len(blocks) > 1 else "" for kind in blocks}
        names = {weight.name: f"model.{weight.name}" for weight in norm.weights()}
        names |= {"lm_head.bias": "lm_head.bias"} if self.head_bias else {}
        return Decoder(
            embed=Embedding(embedding, self.rotary_tables(context), self.embedding_scale).stage(),
            head_loss=head.loss_stage(),
            head=head.logits_stage(),
            blocks={suffix[kind]: block.stages() for kind, block in blocks.items()},
            layer_kinds=tuple(suffix[kind] for kind in kinds),
            weight_names={
                "embed_tokens.weight": "model.embed_tokens.weight",
                "lm_head.weight": "model.embed_tokens.weight" if tied else "lm_head.weight",
                **names,
            },
        )

    def _blocks(
        self, quantization: Quantization = _ANY, targets: Collection[str] | None = None
    ) -> dict[str, DecoderBlock]:
        return {kind: self.block(kind, Linears(quantization, targets)) for kind in dict.fromkeys(self.layer_kinds())}


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def rope_facts_of(table: RotaryTable, parameters: dict[str, Any]) -> RopeFacts:
    """Facts of a table, from the parameters that `rope_parameters` gives."""
    theta = float(parameters.pop("rope_theta"))
    parameters.pop("type", None)
    plain = parameters.get("rope_type") == "default"
    return RopeFacts(table.name, table.dim, theta, None if plain else parameters)


def _head_problems(config: Any) -> list[str]:
    """Numbers and sizes of heads that do not go together."""
    heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, _head_dim(config)
    problems = []
    if kv_heads < 1 or heads % kv_heads:
        problems.append(f"num_key_value_heads: expected a divisor of num_attention_heads {heads}, found {kv_heads}")
    if head_dim < 1 or head_dim % 2:
        problems.append(f"head_dim: expected an even number, found {head_dim}")
    return problems


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (int(value),)


def _prefixed(weight: WeightSpec, prefix: str) -> WeightSpec:
    return WeightSpec(prefix + weight.name, weight.shape, weight.role)
