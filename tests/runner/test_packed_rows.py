"""`pocketlora_run` on packed rows: the figures of the rows in them."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundled
from tests.support.oracle import random_rows
from tests.support.tolerance import EPS

LENGTHS = (23, 20, 8, 31, 12)


def evaluated(program: Path, bundle: Path, data: Path) -> dict[str, Any]:
    command = [program, "eval", bundle, "--data", data, "--logprobs", "--threads", "1"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_packed_row_counts_as_the_rows_in_it(repository: Path, tiny_bundle: Bundled, tmp_path: Path) -> None:
    rows = [random_rows((length,), tiny_bundle.tiny.vocab, length) for length in LENGTHS]
    plain = [{"token_ids": row.tokens.tolist(), "labels": row.labels.tolist()} for row in rows]
    first = {key: list(itertools.chain(plain[0][key], plain[1][key])) for key in ("token_ids", "labels")}
    packed = [first | {"lengths": list(LENGTHS[:2])}, *plain[2:]]
    program = repository / "build" / "host" / "tools" / "pocketlora_run"
    results = []
    for name, lines in (("plain", plain), ("packed", packed)):
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        results.append(evaluated(program, tiny_bundle.bundle, data))
    apart, together = results
    assert [row["token_ids"] for row in together["rows"]] == [row["token_ids"] for row in plain]
    assert together["tokens"] == apart["tokens"]
    assert together["loss"] == pytest.approx(apart["loss"], rel=apart["tokens"] * EPS)
