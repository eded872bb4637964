"""metadata.json of a training run's folder: its schema (docs/artifact.md), and reading it and the run's events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pocketlora_export.adapters.checksums import Count, Sha256, Strict, parse
from pocketlora_export.adapters.lora_config import read_document
from pocketlora_export.errors import PocketLoraError, Status

METADATA_NAME = "metadata.json"
METRICS_NAME = "training_metrics.jsonl"
CARD_NAME = "README.md"


class Base(Strict):
    """What was trained over: the model's name, the hash of base.ptd, and what made the bundle."""

    name: str
    sha256: Sha256
    scheme: str
    tools: dict[str, str]


class Saved(Strict):
    """The adapter: after which step it was like this, and its shape."""

    step: Count
    best: bool
    rank: int
    alpha: float
    use_rslora: bool
    target_modules: list[str]


class Evaluated(Strict):
    """One evaluation of the held-out rows; None = not finite."""

    step: Count
    loss: float | None
    perplexity: float | None


class Metrics(Strict):
    """How training went; None = nothing told of it."""

    steps: Count
    skipped_steps: Count
    tokens: Count
    first_loss: float | None
    last_loss: float | None
    first_validation: Evaluated | None
    last_validation: Evaluated | None
    best_validation: Evaluated | None


class DataFile(Strict):
    """A file of rows: what identifies it and how much is in it, none of its content."""

    role: str
    name: str
    sha256: Sha256
    bytes: Count
    rows: Count
    tokens: Count
    labels: Count
    truncated: Count


class InitAdapter(Strict):
    """The adapter that training went on from: its folder's name and the hash of its weights."""

    name: str
    sha256: Sha256


class Run(BaseModel):
    """What the program that trained knows. An app may leave things out and add its own."""

    model_config = ConfigDict(extra="allow", strict=True)

    tool: str | None = None
    started: str | None = None
    finished: str | None = None
    data: list[DataFile] = []
    options: dict[str, Any] = {}
    init_adapter: InitAdapter | None = None
    resumed_from: Count | None = None
    base_verified: bool | None = None


class Metadata(Strict):
    """metadata.json."""

    format: Literal["pocketlora.artifact"]
    version: Literal[1]
    pocketlora: str
    base: Base
    adapter: Saved
    training: dict[str, Any]
    metrics: Metrics
    run: Run


def read_metadata(folder: Path) -> Metadata:
    """The folder's metadata.json. Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT with every malformed key."""
    return parse(Metadata, read_document(folder / METADATA_NAME), folder / METADATA_NAME)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of training_metrics.jsonl. Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT naming the line."""
    if not path.is_file():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{path} is missing; expected the folder of a training run")
    events = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise PocketLoraError(Status.ADAPTER_CORRUPT, f'{path}:{number}: expected an object with "event"')
        events.append(event)
    return events
