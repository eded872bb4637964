"""From records to rows that are ready to be written: what worker processes do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.dataset import encode_row
from pocketlora_export.data.encoded import IGNORED, Encoded
from pocketlora_export.data.jsonl import parse_json
from pocketlora_export.data.prepare.near import Prints, prints_of
from pocketlora_export.data.prepare.options import KINDS, PrepareOptions
from pocketlora_export.data.prepare.sample import Sample, parse_sample
from pocketlora_export.data.prepare.shingles import Shingler
from pocketlora_export.data.prepare.source import Record, Unreadable
from pocketlora_export.data.prepare.templates import Marks, render, row_as_json
from pocketlora_export.data.prepare.tokenizer import TokenizerSource, open_tokenizer

# Why a row that can be read is left out; 0 = it is not.
REASONS = ("", "empty", "too short", "too long", "duplicate", "near-duplicate")
EMPTY, SHORT, LONG, DUPLICATE, NEAR = range(1, 6)
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode

# One row: where it stands, the hash of its content, its sizes, the bytes of it that will be written.
ROW = np.dtype(
    [
        ("key", "<u8", 2), ("file", "<u4"), ("line", "<u4"), ("chars", "<u4"), ("tokens", "<u4"), ("labels", "<u4"),
        ("size", "<u4"), ("kind", "u1"), ("reason", "u1"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """Records of one file."""

    file: int
    records: Sequence[Record]


@dataclass(frozen=True)
class Processed:
    """Of one chunk: rows ROW [n], the bytes of those without a reason, prints, lines that are no rows and why."""

    rows: NDArray[np.void]
    payload: bytes
    prints: Prints | None
    bad: list[tuple[int, str]]
    file: int


@dataclass(frozen=True)
class _Row:
    """A row on its way."""

    sample: Sample
    line: int
    content: str
    reason: int
    payload: bytes
    tokens: int = 0
    labels: int = 0


class Processor:
    """Parses, cleans, renders, measures and hashes rows."""

    def __init__(self, options: PrepareOptions, source: TokenizerSource | None) -> None:
        self._options = options
        tokenizer = None if source is None else open_tokenizer(source)
        self._coder = None if tokenizer is None else tokenizer.coder
        self._marks = Marks() if tokenizer is None else tokenizer.marks
        self._shingler = None if options.near == "keep" else Shingler()

    def __call__(self, chunk: Chunk) -> Processed:
        """All records of a chunk, in order."""
        rows: list[_Row] = []
        bad: list[tuple[int, str]] = []
        for record in chunk.records:
            found = self._row_or_problem(record)
            if isinstance(found, str):
                bad.append((record.line, found))
            else:
                rows.append(found)
        payload = b"".join(row.payload for row in rows)
        return Processed(_table(rows, chunk.file), payload, self._prints(rows), bad, chunk.file)

    def _row_or_problem(self, record: Record) -> _Row | str:
        try:
            return self._row(record)
        except ValueError as error:
            return str(error)

    def _row(self, record: Record) -> _Row:
        value = record.value
        if isinstance(value, Unreadable):
            raise ValueError(value.message)
        sample = parse_sample(parse_json(value) if isinstance(value, bytes) else value, self._options)
        content = sample.content()
        row = render(sample, self._options.template, self._marks)
        reason = self._reason(sample)
        if reason or self._coder is None:
            return _Row(sample, record.line, content, reason, b"" if reason else _json_line(row_as_json(row)))
        if row.messages is not None and not self._coder.has_chat_template:
            raise ValueError("the tokenizer has no chat template for conversations; --template names others")
        encoded = encode_row(row, self._coder, train_on_prompt=not self._options.tokens)
        reason = self._token_reason(encoded)
        labels = int((encoded.labels != IGNORED).sum()) if self._options.tokens else 0
        payload = token_fragment(encoded) if self._options.tokens else _json_line(row_as_json(row))
        return _Row(sample, record.line, content, reason, b"" if reason else payload, len(encoded.tokens), labels)

    def _reason(self, sample: Sample) -> int:
        needed = (
            [sample.text] if sample.kind == "text" else [m["content"] for m in sample.messages if m["role"] != "system"]
        )
        if not all(text.strip() for text in needed):
            return EMPTY
        chars = _chars(sample)
        if chars < self._options.min_chars:
            return SHORT
        return LONG if self._options.max_chars is not None and chars > self._options.max_chars else 0

    def _token_reason(self, encoded: Encoded) -> int:
        count = len(encoded.tokens)
        if count < (self._options.min_tokens or 2):
            return SHORT
        if self._options.max_tokens is not None and count > self._options.max_tokens:
            return LONG
        if self._options.tokens and not encoded.has_target():
            raise ValueError("no token to learn from: expected an answer that has tokens of its own")
        return 0

    def _prints(self, rows: Sequence[_Row]) -> Prints | None:
        if self._shingler is None:
            return None
        live = np.array([not row.reason for row in rows], dtype=bool)
        shingles = self._shingler([row.content for row in rows if not row.reason])
        return prints_of(shingles, live, self._options.similarity)


def _chars(sample: Sample) -> int:
    return len(sample.text) + sum(len(message["content"]) for message in sample.messages)


def _json_line(value: dict[str, object]) -> bytes:
    return _ENCODE(value).encode() + b"\n"


def token_fragment(row: Encoded) -> bytes:
    """Tokens and, unless they are the same, labels: the inside of two JSON lists, a NUL byte between and at the end."""
    tokens = ",".join(map(str, row.tokens.tolist()))
    labels = "" if (row.labels == row.tokens).all() else ",".join(map(str, row.labels.tolist()))
    return f"{tokens}\0{labels}\0".encode()


def _table(rows: Sequence[_Row], file: int) -> NDArray[np.void]:
    table = np.zeros(len(rows), dtype=ROW)
    digests = b"".join(hashlib.blake2b(row.content.encode(), digest_size=16).digest() for row in rows)
    table["key"] = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    table["file"] = file
    for name, values in (
        ("line", [row.line for row in rows]),
        ("chars", [_chars(row.sample) for row in rows]),
        ("tokens", [row.tokens for row in rows]),
        ("labels", [row.labels for row in rows]),
        ("size", [len(row.payload) for row in rows]),
        ("kind", [KINDS.index(row.sample.kind) for row in rows]),
        ("reason", [row.reason for row in rows]),
    ):
        table[name] = values
    return table
