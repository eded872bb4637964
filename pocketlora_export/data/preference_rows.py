"""Rows of two answers to one prompt, `chosen` and `rejected`, as TRL has them (docs/text-rows.md)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.json_values import kind_of, parse_messages, parse_string
from pocketlora_export.data.token_rows import parse_token_row

Messages = tuple[dict[str, str], ...]
_KEYS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class TextPair:
    """Texts that continue a text."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class ChatPair:
    """Turns that continue a conversation."""

    prompt: Messages
    chosen: Messages
    rejected: Messages


@dataclass(frozen=True)
class TokenPair:
    """Tokens as they are, the prompt in both."""

    chosen: Encoded
    rejected: Encoded


Preference = TextPair | ChatPair | TokenPair


def is_preference(value: dict[str, Any]) -> bool:
    """Whether a row is meant to be of this kind."""
    return "chosen" in value or "rejected" in value


def parse_preference(value: dict[str, Any]) -> Preference:
    """A row of this kind. Raises ValueError that says what was expected and found."""
    missing = [key for key in ("chosen", "rejected") if key not in value]
    if missing:
        raise ValueError(f"expected 'chosen' and 'rejected' in a row of a preference, {missing[0]!r} is missing")
    other = [key for key in ("text", "messages", "completion", "segments", "token_ids") if key in value]
    if other:
        raise ValueError(f"expected only {', '.join(map(repr, _KEYS))} in a row of a preference, found {other[0]!r}")
    answers = value["chosen"], value["rejected"]
    if all(isinstance(answer, str) for answer in answers):
        return _texts(value)
    if all(isinstance(answer, list) for answer in answers):
        return _conversations(value)
    if all(isinstance(answer, dict) for answer in answers):
        return TokenPair(_tokens(value, "chosen"), _tokens(value, "rejected"))
    found = f"{kind_of(answers[0])} and {kind_of(answers[1])}"
    raise ValueError(
        f"expected 'chosen' and 'rejected' to be two strings, two lists of messages or two objects with "
        f"'token_ids', found {found}"
    )


def _texts(value: dict[str, Any]) -> TextPair:
    if "prompt" not in value:
        raise ValueError("expected 'prompt' beside the strings 'chosen' and 'rejected', found none")
    prompt, chosen, rejected = (parse_string(value[key], repr(key)) for key in _KEYS)
    _check_different(chosen, rejected)
    return TextPair(prompt, chosen, rejected)


def _conversations(value: dict[str, Any]) -> ChatPair:
    chosen, rejected = (parse_messages(value[key], key) for key in ("chosen", "rejected"))
    _check_different(chosen, rejected)
    prompt = value.get("prompt")
    if isinstance(prompt, list):
        return ChatPair(parse_messages(prompt, "prompt"), chosen, rejected)
    if prompt is not None:
        parse_string(prompt, "'prompt'")  # as UltraFeedback has it: the conversations begin with it
    # Whole conversations: what they begin with together is the prompt.
    length = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    if not chosen[length:] or not rejected[length:]:
        raise ValueError("expected 'chosen' and 'rejected' to go on differently, one is the beginning of the other")
    return ChatPair(chosen[:length], chosen[length:], rejected[length:])


def _tokens(value: dict[str, Any], key: str) -> Encoded:
    if "prompt" in value:
        raise ValueError("expected no 'prompt' beside rows of tokens, which have it in them")
    if "token_ids" not in value[key]:
        raise ValueError(f"expected {key!r} to have 'token_ids', found {kind_of(value[key])}")
    if "lengths" in value[key]:
        raise ValueError(f"expected {key!r} to be one row, found 'lengths'")
    try:
        return parse_token_row(value[key])
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _check_different(chosen: object, rejected: object) -> None:
    if chosen == rejected:
        raise ValueError("expected 'chosen' and 'rejected' to differ, they are the same")
