"""What PEFT's adapter_config.json means. docs/adapters.md lists what is refused; the runtime's reader agrees with this
one on tests/adapters/config_cases.json."""  # noqa: D205, D209

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pocketlora_export.adapters.module_names import ends_with, first_match, layer_of
from pocketlora_export.adapters.raw_tensors import existing
from pocketlora_export.errors import PocketLoraError, Status, raise_all

CONFIG_NAME = "adapter_config.json"
ALL_LINEAR = "all-linear"
MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MAX_RANK = 2**31 - 1
T = TypeVar("T")

# Fields that change the computation in a way that is not implemented, when they are neither null, false nor empty.
UNSUPPORTED_FIELDS = {
    "use_dora": "weight-decomposed adapters (DoRA)",
    "modules_to_save": "fully trained modules",
    "fan_in_fan_out": "transposed base weights",
    "lora_bias": "a bias on lora_B",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "trained embedding rows",
    "target_parameters": "adapters on bare parameters",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "quantization-aware LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "velora_config": "VeLoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "layers_pattern": "a pattern of layer names",
}
# These initialisations subtract a part from the base weights, which this base does not have subtracted.
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class SiteConfig:
    """Rank and alpha of one module; its product B·A counts `scale` times."""

    rank: int
    alpha: float
    scale: float


@dataclass(frozen=True)
class LoraConfig:
    """A config without what is unsupported. A string in `targets` or `excluded` is a regular expression."""

    rank: int
    alpha: float
    dropout: float
    use_rslora: bool
    targets: tuple[str, ...] | str
    excluded: tuple[str, ...] | str
    layers: tuple[int, ...]
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]

    def is_target(self, site: str) -> bool:
        """Whether a linear layer is adapted, as PEFT decides it."""
        if isinstance(self.targets, str):
            found = self.targets.lower() == ALL_LINEAR or re.fullmatch(self.targets, site) is not None
        else:
            found = any(ends_with(site, name) for name in self.targets)
        return found and not self._is_excluded(site) and (not self.layers or layer_of(site) in self.layers)

    def _is_excluded(self, site: str) -> bool:
        if isinstance(self.excluded, str):
            return re.fullmatch(self.excluded, site) is not None
        return any(ends_with(site, name) for name in self.excluded)

    def of_site(self, site: str) -> SiteConfig:
        """Rank, alpha and scale of a target: the first key of a pattern that matches decides."""
        rank_key, alpha_key = first_match(self.rank_pattern, site), first_match(self.alpha_pattern, site)
        rank = self.rank if rank_key is None else self.rank_pattern[rank_key]
        alpha = self.alpha if alpha_key is None else self.alpha_pattern[alpha_key]
        return SiteConfig(rank, alpha, scale_of(alpha, rank, self.use_rslora))


def scale_of(alpha: float, rank: int, use_rslora: bool) -> float:
    """alpha / r, or alpha / sqrt(r) with rank-stabilized LoRA."""
    return alpha / (math.sqrt(rank) if use_rslora else rank)


def resolve(config: LoraConfig, sites: Sequence[str], path: Path) -> dict[str, SiteConfig]:
    """What a config says of the targets among `sites`.

    Args:
        config: the config.
        sites: all linear layers in question, by their whole names.
        path: the config's file, for messages.

    Raises:
        PocketLoraError: ADAPTER_CORRUPT for a broken regular expression or a scale that does not fit in 32 bits,
            UNKNOWN_TARGET_MODULE for names that stand for no layer.
    """
    try:
        resolved = {site: config.of_site(site) for site in sites if config.is_target(site)}
    except re.error as error:
        message = f"{path}: a broken regular expression: {error} in {error.pattern!r}"
        raise PocketLoraError(Status.ADAPTER_CORRUPT, message) from None
    raise_all(
        Status.ADAPTER_CORRUPT,
        f"{path}: not a valid {CONFIG_NAME}",
        (
            f"{site}: lora_alpha {found.alpha:g} gives a scale that does not fit in 32 bits"
            for site, found in resolved.items()
            if not abs(found.scale) <= MAX_FLOAT32
        ),
    )
    targets = () if isinstance(config.targets, str) else config.targets
    unknown = [name for name in targets if not any(ends_with(site, name) for site in sites)]
    raise_all(Status.UNKNOWN_TARGET_MODULE, f"{path}: unknown target modules:", unknown)
    return resolved


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object of a config file. Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT naming the file."""
    try:
        document = json.loads(existing(path).read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: expected a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice}" is given twice')
    return found


def parse_config(document: Mapping[str, Any], path: Path) -> LoraConfig:
    """Check and read a config.

    Raises:
        PocketLoraError: ADAPTER_CORRUPT with every malformed field, then ADAPTER_UNSUPPORTED with every field that
            changes the computation in a way that is not implemented.
    """
    fields = _Fields(document)
    config = LoraConfig(
        rank=fields.rank("r", document.get("r")),
        alpha=fields.number("lora_alpha", document.get("lora_alpha")),
        dropout=fields.dropout(),
        use_rslora=fields.boolean("use_rslora"),
        targets=fields.modules("target_modules", required=True),
        excluded=fields.modules("exclude_modules", required=False),
        layers=fields.layers(),
        rank_pattern=fields.pattern("rank_pattern", fields.rank),
        alpha_pattern=fields.pattern("alpha_pattern", fields.number),
    )
    fields.text("peft_type", required=True)
    raise_all(Status.ADAPTER_CORRUPT, f"{path}: not a valid {CONFIG_NAME}", fields.problems)
    raise_all(Status.ADAPTER_UNSUPPORTED, f"{path}: the adapter uses what is not supported", _unsupported(document))
    return config


def _unsupported(document: Mapping[str, Any]) -> list[str]:
    found = []
    if document["peft_type"] != "LORA":
        found.append(f"peft_type {document['peft_type']}, expected LORA")
    if document.get("bias") not in (None, "none"):
        found.append(f'bias "{document["bias"]}", expected "none"')
    for name, what in UNSUPPORTED_FIELDS.items():
        value = document.get(name)
        # A number is set whatever it is: 0 is a token like any other.
        if value or (isinstance(value, int | float) and not isinstance(value, bool)):
            found.append(f"{name} ({what})")
    start = document.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(_CHANGE_THE_BASE):
        found.append(f'init_lora_weights "{start}" (it changes the base; convert to plain LoRA first)')
    return found


class _Fields:
    """Typed access to a config; every problem is kept, and a harmless value stands in."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._document = document

    def rank(self, name: str, value: Any) -> int:
        """An integer from 1."""
        if not isinstance(value, int) or isinstance(value, bool):
            return self._wrong(name, "an integer", value, 1)
        if not 1 <= value <= _MAX_RANK:
            self.problems.append(f"{name}: expected 1 to {_MAX_RANK}, found {value}")
            return 1
        return value

    def number(self, name: str, value: Any) -> float:
        """A finite number."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self._wrong(name, "a number", value, 0.0)
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            self.problems.append(f"{name}: expected a finite number, found {value}")
            return 0.0
        return found

    def dropout(self) -> float:
        """`lora_dropout`."""
        value = self._document.get("lora_dropout")
        found = 0.0 if value is None else self.number("lora_dropout", value)
        if not 0 <= found < 1:
            self.problems.append(f"lora_dropout: expected [0, 1), found {found:g}")
        return found

    def boolean(self, name: str) -> bool:
        """True or false, by default false."""
        value = self._document.get(name)
        return bool(value) if value is None or isinstance(value, bool) else self._wrong(name, "a boolean", value, False)

    def text(self, name: str, *, required: bool) -> str:
        """A string."""
        value = self._document.get(name)
        if isinstance(value, str) or (value is None and not required):
            return value or ""
        return self._wrong(name, "a string", value, "")

    def modules(self, name: str, *, required: bool) -> tuple[str, ...] | str:
        """A list of names, or a string."""
        value = self._document.get(name)
        if isinstance(value, str) or (value is None and not required):
            return value or ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return self._wrong(name, "a list of module names", value, ())
        if required and not value:
            self.problems.append(f"{name}: expected at least one module")
        return tuple(value)

    def layers(self) -> tuple[int, ...]:
        """`layers_to_transform`: a number or a list of numbers."""
        value = self._document.get("layers_to_transform")
        found = [] if value is None else value if isinstance(value, list) else [value]
        if any(not isinstance(item, int) or isinstance(item, bool) for item in found):
            return self._wrong("layers_to_transform", "integers", value, ())
        return tuple(found)

    def pattern(self, name: str, value_of: Callable[[str, Any], T]) -> dict[str, T]:
        """An object of values of one kind, in the order of the file."""
        value = self._document.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            return self._wrong(name, "an object", value, {})
        return {key: value_of(f"{name}.{key}", item) for key, item in value.items()}

    def _wrong(self, name: str, expected: str, value: Any, instead: T) -> T:
        self.problems.append(f"{name}: expected {expected}, found {_kind(value)}")
        return instead


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", int: "an integer"}
    return names.get(type(value), "a number with a fraction")
