"""What JSON values must be to be parts of a row; every complaint names the value and what it is instead."""

from __future__ import annotations

from typing import Any

ROLES = ("system", "user", "assistant")


def parse_messages(value: Any, where: str = "messages") -> tuple[dict[str, str], ...]:
    """A conversation. Raises ValueError that names the message, `where` being the key that it stands at."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected {where!r} to be a list that is not empty, found {kind_of(value)}")
    return tuple(_message(item, f"{where}[{index}]") for index, item in enumerate(value))


def _message(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise ValueError(f"expected {where} to be an object with 'role' and 'content', found {kind_of(value)}")
    if value["role"] not in ROLES:
        raise ValueError(f"expected {where}.role to be one of {', '.join(ROLES)}, found {value['role']!r}")
    return {"role": value["role"], "content": parse_string(value["content"], f"{where}.content")}


def parse_string(value: Any, where: str) -> str:
    """A string that has a UTF-8 form. Raises ValueError that names `where`."""
    if not isinstance(value, str):
        raise ValueError(f"expected {where} to be a string, found {kind_of(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds a lone surrogate at character {error.start + 1}") from None
    return value


def kind_of(value: Any) -> str:
    """What a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, value)) or 'no keys'}"
    return "an empty list" if value == [] else names.get(type(value), "null")
