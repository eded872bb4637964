"""Reading JSON Lines: one row a line, every complaint with file:line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.json_values import kind_of, parse_messages, parse_string
from pocketlora_export.data.preference_rows import Preference, is_preference, parse_preference
from pocketlora_export.data.problems import Problems
from pocketlora_export.data.token_rows import parse_token_row
from pocketlora_export.errors import PocketLoraError, Status

# The key that tells the kind of a row.
KINDS = ("text", "messages", "prompt", "segments", "token_ids")


@dataclass(frozen=True)
class Segment:
    """A piece of a row's text, and whether its tokens are labels."""

    text: str
    label: bool


@dataclass(frozen=True)
class SourceRow:
    """One row as written in the file: one of the kinds is set."""

    line: int
    text: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    pair: tuple[str, str] | None = None
    segments: tuple[Segment, ...] | None = None
    encoded: Encoded | None = None
    preference: Preference | None = None


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
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {kind_of(value)}")
    if is_preference(value):
        return SourceRow(line, preference=parse_preference(value))
    kinds = [key for key in KINDS if key in value]
    if len(kinds) != 1:
        found = ", ".join(map(repr, kinds or value)) or "an empty object"
        raise ValueError(f"expected exactly one of {', '.join(map(repr, KINDS))}, found {found}")
    return _row(line, kinds[0], value)


def _row(line: int, kind: str, value: dict[str, Any]) -> SourceRow:
    if kind == "text":
        return SourceRow(line, text=parse_string(value["text"], "'text'"))
    if kind == "messages":
        return SourceRow(line, messages=parse_messages(value["messages"]))
    if kind == "segments":
        return SourceRow(line, segments=_segments(value["segments"]))
    if kind == "token_ids":
        return SourceRow(line, encoded=parse_token_row(value))
    if "completion" not in value:
        raise ValueError("expected 'completion' beside 'prompt', found none")
    prompt, completion = (parse_string(value[key], f"'{key}'") for key in ("prompt", "completion"))
    return SourceRow(line, pair=(prompt, completion))


def parse_json(raw: bytes) -> Any:
    """A line of JSON. Raises ValueError that says where it is not."""
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


def _segments(value: Any) -> tuple[Segment, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected 'segments' to be a list that is not empty, found {kind_of(value)}")
    return tuple(_segment(item, f"segments[{index}]") for index, item in enumerate(value))


def _segment(value: Any, where: str) -> Segment:
    if not isinstance(value, dict) or not {"text", "label"} <= value.keys():
        raise ValueError(f"expected {where} to be an object with 'text' and 'label', found {kind_of(value)}")
    if not isinstance(value["label"], bool):
        raise ValueError(f"expected {where}.label to be true or false, found {kind_of(value['label'])}")
    return Segment(parse_string(value["text"], f"{where}.text"), value["label"])
