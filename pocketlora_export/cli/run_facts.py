"""What a training tells of itself in metadata.json (docs/artifact.md, `run`); `pocketlora_run` writes the same keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlora_export.adapters.checksums import WEIGHTS_NAME
from pocketlora_export.bundle.files import hash_file
from pocketlora_export.cli import console
from pocketlora_export.data.dataset import Dataset
from pocketlora_export.data.encoded import IGNORED

if TYPE_CHECKING:
    from pocketlora_export.cli.training import TrainJob

TOOL = "pocketlora-export train"


def _utc() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _data(role: str, rows: Dataset) -> dict[str, Any]:
    """What identifies a file and how much is in it, none of its content."""
    return {
        "role": role,
        "name": rows.path.name,
        "sha256": hash_file(rows.path),
        "bytes": rows.path.stat().st_size,
        "rows": len(rows.rows),
        "tokens": rows.num_tokens,
        "labels": sum(int((row.labels != IGNORED).sum()) for row in rows.rows),
        "truncated": rows.truncated,
    }


def _init_adapter(folder: Path | None) -> dict[str, str] | None:
    return None if folder is None else {"name": folder.resolve().name, "sha256": hash_file(folder / WEIGHTS_NAME)}


@dataclass
class RunFacts:
    """Collected while a job runs: `data` and the adapter that it goes on from when it begins, the rest later."""

    job: TrainJob
    steps: int
    data: list[dict[str, Any]]
    init_adapter: dict[str, str] | None
    started: str = field(default_factory=_utc)
    resumed_from: int | None = None
    base_verified: bool | None = None

    @classmethod
    def of(cls, job: TrainJob, rows: Dataset, held_out: Dataset | None) -> RunFacts:
        """The facts of a job whose rows were read just now."""
        files = [("train", rows), *([] if held_out is None else [("valid", held_out)])]
        data = [_data(role, dataset) for role, dataset in files]
        return cls(job, job.steps(len(rows.rows)), data, _init_adapter(job.init_adapter))

    def text(self) -> str:
        """The JSON object."""
        return console.json_line(
            {
                "tool": TOOL,
                "started": self.started,
                "finished": _utc(),
                "data": self.data,
                "options": self._options(),
                "init_adapter": self.init_adapter,
                "resumed_from": self.resumed_from,
                "base_verified": self.base_verified,
            }
        )

    def _options(self) -> dict[str, Any]:
        job = self.job
        names = (
            "epochs", "batch_size", "grad_accumulation_steps", "truncate", "train_on_prompt", "eval_every", "patience",
        )  # fmt: skip
        last = ("max_skipped_steps", "memory_limit", "backend", "threads")
        return (
            {"iters": self.steps}
            | {name: getattr(job, name) for name in names}
            | {"keep_best": job.saves_best}
            | {name: getattr(job, name) for name in last}
        )
