"""PEFT's rules for the names of modules, and how a set of modules is named shortly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

# The first numbered part of a name is the layer.
_LAYER = re.compile(r"(?P<before>.*?\.[^.]*)\.(?P<layer>\d+)\.(?P<module>.*)")
# Keys that the runtime reads without a regex engine: every character stands for one.
_PLAIN_KEY = re.compile(r"\^?(?:[A-Za-z0-9_.-]|\\\.)+\$?")


def layer_of(site: str) -> int | None:
    """3 of "model.layers.3.mlp.up_proj"; None without a number."""
    match = _LAYER.match(site)
    return int(match["layer"]) if match else None


def in_layer(site: str) -> str:
    """The name within the layer: "mlp.up_proj" of "model.layers.3.mlp.up_proj"; the whole name elsewhere."""
    match = _LAYER.match(site)
    return match["module"] if match else site


def ends_with(site: str, name: str) -> bool:
    """Whether `name` is the site's whole name or its end after a dot."""
    return site == name or site.endswith(f".{name}")


def is_plain_key(key: str) -> bool:
    """Whether the runtime reads a key of rank_pattern or alpha_pattern."""
    return _PLAIN_KEY.fullmatch(key) is not None


def first_match(keys: Iterable[str], site: str) -> str | None:
    """The first key of a rank_pattern or alpha_pattern that matches a site. Raises re.error for a broken key."""
    return next((key for key in keys if re.match(rf"(.*\.)?({key})$", site)), None)


def by_layer(sites: Iterable[str]) -> list[str]:
    """Sorted by layer, then in the order given."""
    return sorted(sites, key=lambda site: -1 if (layer := layer_of(site)) is None else layer)


def shortest_targets(sites: Sequence[str]) -> tuple[list[str], list[int] | None]:
    """`target_modules` and `layers_to_transform` that name exactly these sites, whatever else the model has."""
    places = [(in_layer(site), layer_of(site)) for site in sites]
    modules = list(dict.fromkeys(module for module, _ in places))
    layers = sorted({layer for _, layer in places if layer is not None})
    if set(places) == set(product(modules, layers)) and len(places) == len(modules) * len(layers):
        return modules, layers
    return list(sites), None
