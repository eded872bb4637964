"""What the tests of `data prepare` share: writing inputs, running a job, reading what it wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.data.prepare.job import prepare
from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.tokenizer import TokenizerSource

# All rows in one file, one process: what most tests want.
ALL_TRAIN = PrepareOptions(valid_share=0, test_share=0, workers=1)
Job = Callable[..., "Prepared"]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a job wrote."""

    folder: Path
    stats: dict[str, Any]

    def rows(self, name: str = "train") -> list[Any]:
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def lines(*rows: object) -> str:
    """JSON Lines; a string stays as it is."""
    written = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    return "".join(f"{row}\n" for row in written)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Prepare inputs: name -> content. Options are those of ALL_TRAIN unless said otherwise."""

    def run(inputs: dict[str, str | bytes], source: TokenizerSource | None = None, **options: Any) -> Prepared:
        paths: list[Path] = []
        for name, content in inputs.items():
            path = tmp_path / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        return run_job(paths, tmp_path / "out", source, **options)

    return run


def run_job(paths: Sequence[Path], output: Path, source: TokenizerSource | None = None, **options: Any) -> Prepared:
    """Prepare files; an older output is replaced."""
    chosen = dataclasses.replace(ALL_TRAIN, **options)
    return Prepared(output, prepare(paths, output, chosen, source, lambda *_: None, force=True))
