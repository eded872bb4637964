"""Rows that are tokens already: `token_ids`, `labels` and, where several rows stay together, their `lengths`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.encoded import IGNORED, Encoded

KEYS = ("token_ids", "labels", "lengths")


def parse_token_row(value: dict[str, Any]) -> Encoded:
    """A token row of docs/text-rows.md. Raises ValueError that says what was expected and found."""
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise ValueError(f"expected only {', '.join(map(repr, KEYS))} in a row of tokens, found {unknown[0]!r}")
    tokens = _integers(value, "token_ids")
    if (tokens < 0).any():
        at = int(np.flatnonzero(tokens < 0)[0])
        raise ValueError(f"token_ids[{at}]: expected 0 or more, found {tokens[at]}")
    labels = _integers(value, "labels") if "labels" in value else tokens.copy()
    if len(labels) != len(tokens):
        raise ValueError(f"expected as many labels as token_ids ({len(tokens)}), found {len(labels)}")
    wrong = np.flatnonzero((labels != IGNORED) & (labels != tokens))
    if len(wrong):
        at = int(wrong[0])
        raise ValueError(f"labels[{at}]: expected the token ({tokens[at]}) or {IGNORED}, found {labels[at]}")
    return Encoded(tokens, labels, _lengths(value, len(tokens)))


def _lengths(value: dict[str, Any], total: int) -> tuple[int, ...]:
    if "lengths" not in value:
        return ()
    lengths = _integers(value, "lengths")
    short = np.flatnonzero(lengths < 2)
    if len(short):
        raise ValueError(f"lengths[{short[0]}]: expected at least 2 tokens, found {lengths[short[0]]}")
    if lengths.sum() != total:
        raise ValueError(f"expected 'lengths' to add up to the {total} token_ids, found {lengths.sum()}")
    return tuple(lengths.tolist())


def _integers(value: dict[str, Any], key: str) -> NDArray[np.int64]:
    found = value[key]
    if not isinstance(found, list):
        raise ValueError(f"expected {key!r} to be a list of integers, found {type(found).__name__}")
    for index, item in enumerate(found):
        if type(item) is not int or abs(item) >= 2**62:
            raise ValueError(f"{key}[{index}]: expected an integer, found {item!r}")
    return np.array(found, dtype=np.int64)
