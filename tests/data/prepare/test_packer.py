"""Packing rows of tokens into lines."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import numpy as np
import pytest

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.prepare.packer import Packer, Piece, token_line
from pocketlora_export.data.prepare.process import token_fragment
from pocketlora_export.data.token_rows import parse_token_row


def piece(length: int, first: int, *, masked: int = 0) -> Piece:
    tokens = np.arange(first, first + length)
    labels = tokens.copy()
    labels[:masked] = -100
    ids, wanted, rest = token_fragment(Encoded(tokens, labels)).split(b"\0")
    assert rest == b""
    return Piece(length, ids, wanted)


def packed(pieces: list[Piece], length: int, max_segments: int) -> list[dict[str, Any]]:
    written: list[bytes] = []
    packer = Packer(length, max_segments, written.append)
    for item in pieces:
        packer.add(item)
    packer.finish()
    assert packer.lines == len(written)
    return [json.loads(line) for line in written]


def rows_of(line: dict[str, Any]) -> list[list[int]]:
    ends = list(itertools.accumulate(line.get("lengths", [len(line["token_ids"])])))
    return [line["token_ids"][a:b] for a, b in itertools.pairwise([0, *ends])]


@pytest.mark.parametrize("max_segments", [1, 3, 64])
def test_nothing_is_lost_and_every_limit_is_kept(max_segments: int) -> None:
    source = random.Random(1)
    pieces = [piece(source.randint(2, 100), 1000 * row) for row in range(500)]
    found = packed(pieces, 100, max_segments)
    for line in found:
        encoded = parse_token_row(line)
        assert len(encoded.tokens) <= 100
        assert len(encoded.segments) <= max_segments
    firsts = sorted(row[0] for line in found for row in rows_of(line))
    assert firsts == [1000 * row for row in range(500)]
    if max_segments == 64:
        # Best fit among 64 open lines leaves little room.
        assert sum(len(line["token_ids"]) for line in found) > 0.95 * 100 * len(found)


def test_lines_say_only_what_is_not_plain() -> None:
    plain, masked = piece(3, 10), piece(3, 20, masked=2)
    assert json.loads(token_line([plain], packed=True)) == {"token_ids": [10, 11, 12]}
    assert json.loads(token_line([masked], packed=True)) == {"token_ids": [20, 21, 22], "labels": [-100, -100, 22]}
    assert json.loads(token_line([plain, masked], packed=True)) == {
        "token_ids": [10, 11, 12, 20, 21, 22],
        "labels": [10, 11, 12, -100, -100, 22],
        "lengths": [3, 3],
    }
