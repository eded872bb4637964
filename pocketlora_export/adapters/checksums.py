"""checksums.json of an adapter folder (docs/artifact.md): reading it, and holding files to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pocketlora_export.adapters.lora_config import CONFIG_NAME, read_document
from pocketlora_export.bundle.files import hash_file
from pocketlora_export.errors import PocketLoraError, Status, raise_all

CHECKSUMS_NAME = "checksums.json"
WEIGHTS_NAME = "adapter_model.safetensors"
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A part of a file that PocketLoRA wrote: keys that are not known are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FileEntry(Strict):
    """One file of the folder."""

    path: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    size: Count
    sha256: Sha256


class Checksums(Strict):
    """checksums.json: every other file of the folder."""

    format: Literal["pocketlora.checksums"]
    version: Literal[1]
    files: list[FileEntry]


def parse(model: type[M], document: object, path: Path) -> M:
    """A document as a model. Raises ADAPTER_CORRUPT with every key that is not as it should be."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r:.80}" for e in error.errors()]
    problem = "\n".join([f"{path}: not what docs/artifact.md describes:", *(f"  - {line}" for line in lines)])
    raise PocketLoraError(Status.ADAPTER_CORRUPT, problem)


def read_checksums(folder: Path) -> Checksums:
    """The folder's checksums.json. Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT."""
    return parse(Checksums, read_document(folder / CHECKSUMS_NAME), folder / CHECKSUMS_NAME)


def file_problem(folder: Path, entry: FileEntry) -> tuple[Status, str] | None:
    """What is wrong with one file, if anything."""
    path = folder / entry.path
    if not path.is_file():
        return Status.ADAPTER_MISSING_FILE, f"{path}: missing"
    size = path.stat().st_size
    if size != entry.size:
        return Status.ADAPTER_CORRUPT, f"{path}: expected {entry.size} bytes, found {size}"
    found = hash_file(path)
    if found != entry.sha256:
        return Status.ADAPTER_CORRUPT, f"{path}: expected SHA-256 {entry.sha256}, found {found}"
    return None


def check_adapter_files(folder: Path) -> None:
    """Hold the config and the weights to the folder's checksums.json; fine without one, as other tools write folders.

    Raises ADAPTER_CORRUPT with each that is not as it was written. What is missing is for the reader to say.
    """
    if not (folder / CHECKSUMS_NAME).is_file():
        return
    entries = {entry.path: entry for entry in read_checksums(folder).files}
    problems = list(_loaded_file_problems(folder, entries))
    raise_all(Status.ADAPTER_CORRUPT, f"adapter {folder} is not as it was written:", problems)


def _loaded_file_problems(folder: Path, entries: dict[str, FileEntry]) -> Iterable[str]:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if name not in entries:
            yield f"{folder / CHECKSUMS_NAME}: does not list {name}"
        elif (problem := file_problem(folder, entries[name])) is not None and problem[0] == Status.ADAPTER_CORRUPT:
            yield problem[1]
