"""Writing an adapter under its final name only when it is whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from pocketlora_export.adapters.peft_folder import CONFIG_NAME, WEIGHTS_NAME
from pocketlora_export.errors import PocketLoraError, Status


class Savable(Protocol):
    """An adapter that can write itself as a PEFT folder."""

    def save(self, directory: Path) -> None:
        """Write the folder's files."""


def check_output(output: Path, *, force: bool) -> None:
    """Find out before any work whether an adapter can be written to `output`.

    A folder that is new or empty is fine; one that holds an adapter is replaced with `force` only; one that holds
    anything else is refused. Raises INVALID_ARGUMENT or IO_WRITE.
    """
    if output.exists() and not output.is_dir():
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output}: expected a folder, found a file")
    present = {entry.name for entry in output.iterdir()} if output.is_dir() else set()
    holds_adapter = bool(present & {CONFIG_NAME, WEIGHTS_NAME})
    if holds_adapter and not force:
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"output {output} already holds an adapter; choose another folder, or use --force"
        )
    if present and not holds_adapter:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output} is not empty; choose a new folder")
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise PocketLoraError(Status.IO_WRITE, f"output {output} cannot be created: {nearest} is not a writable folder")


def save_adapter(adapter: Savable, output: Path) -> None:
    """Write beside the final name, then rename; a failure or an interruption leaves nothing behind.

    An adapter that is replaced keeps its place until the new one is complete.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.{os.getpid()}.new")
    try:
        adapter.save(fresh)
        _replace(fresh, output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _replace(fresh: Path, output: Path) -> None:
    """Move `fresh` to `output`. A folder can only be renamed over an empty one, so an old adapter steps aside first."""
    if not output.is_dir() or not any(output.iterdir()):
        fresh.replace(output)
        return
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    output.replace(old)
    try:
        fresh.replace(output)
    except BaseException:
        old.replace(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
