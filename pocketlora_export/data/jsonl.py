"""Reading JSON Lines: one row a line, every complaint with file:line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlora_export.data.problems import Problems
from pocketlora_export.errors import PocketLoraError, Status

ROLES = ("system", "user", "assistant")
KINDS = ("text", "messages")


@dataclass(frozen=True)
class SourceRow:
    """One row as written in the file: either `text` or `messages` is set."""

    line: int
    text: str | None = None
    messages: tuple[dict[str, str], ...] | None = None


def read_rows(path: Path, problems: Problems) -> list[SourceRow]:
    """All rows of a file in order; rows that cannot be read are added to `problems`.

    Raises INPUT_MISSING when there is no such file, INPUT_MALFORMED when it holds no row at all.
    """
    if not path.is_file():
        other = "something that is not a regular file" if path.exists() else "nothing"
        found = "a folder" if path.is_dir() else other
        raise PocketLoraError(Status.INPUT_MISSING, f"{path}: expected a JSONL file, found {found}")
    before = len(problems.lines)
    rows = list(_rows(path, problems))
    if not rows and len(problems.lines) == before:
        raise PocketLoraError(
            Status.INPUT_MALFORMED, f'{path}: no rows; expected one JSON object a line, such as {{"text": "..."}}'
        )
    return rows


def _rows(path: Path, problems: Problems) -> Iterator[SourceRow]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                yield _parse(number, raw)
            except ValueError as error:
                problems.add(number, str(error))


def _parse(line: int, raw: bytes) -> SourceRow:
    value = _json(raw)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {_kind(value)}")
    kinds = [key for key in KINDS if key in value]
    if len(kinds) != 1:
        found = "both" if kinds else (", ".join(map(repr, value)) or "an empty object")
        raise ValueError(f"expected exactly one of 'text' and 'messages', found {found}")
    if kinds == ["text"]:
        return SourceRow(line, text=_string(value["text"], "'text'"))
    return SourceRow(line, messages=_messages(value["messages"]))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte {error.start + 1} of the line is 0x{error.object[error.start]:02x}"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("not a row: JSON nested too deeply") from None


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected 'messages' to be a list that is not empty, found {_kind(value)}")
    return tuple(_message(item, f"messages[{index}]") for index, item in enumerate(value))


def _message(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise ValueError(f"expected {where} to be an object with 'role' and 'content', found {_kind(value)}")
    if value["role"] not in ROLES:
        raise ValueError(f"expected {where}.role to be one of {', '.join(ROLES)}, found {value['role']!r}")
    return {"role": value["role"], "content": _string(value["content"], f"{where}.content")}


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {where} to be a string, found {_kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds a lone surrogate at character {error.start + 1}") from None
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, value)) or 'no keys'}"
    return "an empty list" if value == [] else names.get(type(value), "null")
