"""Everything that can be checked about the folder of a training run: docs/artifact.md, "Checking"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pocketlora_export.adapters.artifact import (
    CARD_NAME,
    METADATA_NAME,
    METRICS_NAME,
    Metadata,
    read_events,
    read_metadata,
)
from pocketlora_export.adapters.checksums import CHECKSUMS_NAME, WEIGHTS_NAME, Checksums, file_problem, read_checksums
from pocketlora_export.adapters.fit import check_fit
from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.peft_folder import PeftFolder, read_peft
from pocketlora_export.errors import PocketLoraError, Status

REQUIRED = (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, METADATA_NAME)
T = TypeVar("T")


@dataclass(frozen=True)
class ArtifactReport:
    """What was checked and found right."""

    files: int
    bytes_hashed: int
    tensors: int
    parameters: int
    steps: int
    events: int
    base_sha256: str
    fits: str | None
    """The bundle that it was compared with."""


@dataclass
class _Found:
    """All problems, each with its status."""

    problems: list[tuple[Status, str]] = field(default_factory=list)

    def add(self, status: Status, message: str) -> None:
        self.problems.append((status, message))

    def add_all(self, status: Status, messages: Iterable[str]) -> None:
        self.problems += [(status, message) for message in messages]

    def attempt(self, action: Callable[[], T]) -> T | None:
        """The action's result, or None when it fails, which is noted."""
        try:
            return action()
        except PocketLoraError as error:
            self.add(error.status, str(error))
            return None

    def raise_if_any(self, folder: Path) -> None:
        if not self.problems:
            return
        # What is missing comes first, then what is damaged: the rest may follow from it.
        statuses = {status for status, _ in self.problems}
        first = (Status.ADAPTER_MISSING_FILE, Status.ADAPTER_CORRUPT, self.problems[0][0])
        status = next(wanted for wanted in first if wanted in statuses)
        # One thing may be found in two ways; an indented line belongs to the one above it.
        lines = dict.fromkeys(message.replace("\n", "\n    ") for _, message in self.problems)
        raise PocketLoraError(status, "\n".join([f"{folder} is not as it was written:", *(f"  - {x}" for x in lines)]))


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder looks like an adapter's rather than a bundle's."""
    names = (CHECKSUMS_NAME, METADATA_NAME, CONFIG_NAME, WEIGHTS_NAME)
    return not (folder / "manifest.json").exists() and any((folder / name).is_file() for name in names)


def verify_artifact(folder: Path, bundle: Path | None = None) -> ArtifactReport:
    """Check the folder of a training run completely, and with `bundle` that it fits that base.

    Raises:
        PocketLoraError: with every problem, and the status of the gravest: ADAPTER_MISSING_FILE, ADAPTER_CORRUPT (a
            damaged file), ADAPTER_MISMATCH (files that contradict each other or the bundle), ADAPTER_OTHER_BASE.
    """
    found = _Found()
    checksums = found.attempt(lambda: read_checksums(folder))
    if checksums is not None:
        _check_files(folder, checksums, found)
    adapter = found.attempt(lambda: read_peft(folder, checked=False))
    metadata = found.attempt(lambda: read_metadata(folder))
    events = _steps(folder, metadata, found)
    if metadata is not None and adapter is not None:
        found.add_all(Status.ADAPTER_MISMATCH, _contradictions(folder, metadata, adapter))
    if bundle is not None and adapter is not None:
        found.attempt(lambda: check_fit(adapter.adapter, bundle, adapter.config))
    found.raise_if_any(folder)
    if checksums is None or metadata is None or adapter is None:
        raise AssertionError("a problem was raised otherwise")
    return ArtifactReport(
        files=len(checksums.files),
        bytes_hashed=sum(entry.size for entry in checksums.files),
        tensors=2 * len(adapter.adapter.sites),
        parameters=adapter.adapter.num_parameters,
        steps=metadata.metrics.steps,
        events=events,
        base_sha256=metadata.base.sha256,
        fits=None if bundle is None else str(bundle),
    )


def _check_files(folder: Path, checksums: Checksums, found: _Found) -> None:
    names = [entry.path for entry in checksums.files]
    list_path = folder / CHECKSUMS_NAME
    found.add_all(Status.ADAPTER_CORRUPT, (f"{list_path}: does not list {n}" for n in REQUIRED if n not in names))
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    found.add_all(Status.ADAPTER_CORRUPT, (f"{list_path}: lists {name} twice" for name in twice))
    for entry in checksums.files:
        problem = file_problem(folder, entry)
        if problem is not None:
            found.add(*problem)
    known = {*names, CHECKSUMS_NAME}
    extra = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    found.add_all(
        Status.ADAPTER_CORRUPT, (f"{folder / n}: not listed in {CHECKSUMS_NAME}" for n in extra if n not in known)
    )


def _steps(folder: Path, metadata: Metadata | None, found: _Found) -> int:
    """The number of events, after a look at their steps: each of the run's once, in order."""
    path = folder / METRICS_NAME
    if not path.is_file():  # where checksums.json lists it, it was told already
        return 0
    events = found.attempt(lambda: read_events(path)) or []
    steps = [event.get("step") for event in events if event["event"] == "progress"]
    # An app may tell of no event at all.
    if metadata is not None and steps and steps != list(range(1, metadata.metrics.steps + 1)):
        expected = f"the steps 1 to {metadata.metrics.steps}, each once"
        found.add(Status.ADAPTER_MISMATCH, f"{path}: expected {expected}, found {_first_gap(steps)}")
    return len(events)


def _first_gap(steps: list[object]) -> str:
    for expected, step in enumerate(steps, 1):
        if step != expected:
            return f"{step} where {expected} was expected"
    return f"{len(steps)} steps"


def _contradictions(folder: Path, metadata: Metadata, folder_adapter: PeftFolder) -> Iterator[str]:
    """What metadata.json says otherwise than the adapter."""
    path, config, adapter = folder / METADATA_NAME, folder_adapter.config, folder_adapter.adapter
    told, base = metadata.adapter, metadata.base.sha256
    pairs: dict[str, tuple[object, object]] = {
        "adapter.rank": (told.rank, config.rank),
        "adapter.alpha": (told.alpha, config.alpha),
        "adapter.use_rslora": (told.use_rslora, config.use_rslora),
    }
    if not isinstance(config.targets, str):
        pairs["adapter.target_modules"] = (sorted(told.target_modules), sorted(config.targets))
    for key, (said, is_so) in pairs.items():
        if said != is_so:
            yield f"{path}: {key}: expected {is_so} as in {CONFIG_NAME}, found {said}"
    if adapter.base_sha256 != base:
        yield f"{path}: base.sha256: expected {adapter.base_sha256} as in {WEIGHTS_NAME}, found {base}"
    if metadata.run.base_verified is False:
        yield f"{path}: the base was changed while it was trained on (run.base_verified)"
