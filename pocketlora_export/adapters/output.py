"""Writing an adapter under its final name only when it is whole."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pocketlora_export.adapters.peft_folder import CONFIG_NAME, WEIGHTS_NAME
from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error


class Savable(Protocol):
    """An adapter that can write itself as a PEFT folder."""

    def save(self, directory: Path) -> None:
        """Write the folder's files."""


def check_output(output: Path, *, force: bool, bundle: Path | None = None) -> None:
    """Find out before any work whether an adapter can be written to `output`.

    A folder that is new or empty is fine; one that holds an adapter is replaced with `force` only; one that holds
    anything else is refused, and so is a place in `bundle`. Making the folder is tried, and undone. Raises
    INVALID_ARGUMENT, or what writing there would raise.
    """
    if bundle is not None and bundle.resolve() in (output.resolve(), *output.resolve().parents):
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"output {output}: expected a folder outside the bundle {bundle}, found one in it"
        )
    if os.path.lexists(output) and not output.is_dir():
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output}: expected a folder, found a file")
    present = {entry.name for entry in output.iterdir()} if output.is_dir() else set()
    holds_adapter = bool(present & {CONFIG_NAME, WEIGHTS_NAME})
    if holds_adapter and not force:
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"output {output} already holds an adapter; choose another folder, or use --force"
        )
    if present and not holds_adapter:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output} is not empty; choose a new folder")
    _try_staging(output)


def _try_staging(output: Path) -> None:
    """Make what `save_adapter` makes before it writes, and remove it."""
    fresh = _staging(output.resolve())
    made: list[Path] = []
    try:
        for folder in reversed([fresh, *fresh.parents]):
            if not os.path.lexists(folder):
                folder.mkdir()
                made.append(folder)
    except OSError as error:
        raise _cannot_write(output, error) from None
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def _staging(output: Path) -> Path:
    return output.with_name(f".{output.name}.{os.getpid()}.new")


def _cannot_write(output: Path, error: OSError) -> PocketLoraError:
    status = status_of_os_error(error)
    # Without a path of its own a failed write is never a missing input.
    kept = status in (Status.DISK_FULL, Status.OUT_OF_MEMORY)
    return PocketLoraError(status if kept else Status.IO_WRITE, f"output {output} cannot be written: {error.strerror}")


def save_adapter(adapter: Savable, output: Path) -> None:
    """Write beside the final name, then rename; a failure or an interruption leaves nothing behind.

    An adapter that is replaced keeps its place until the new one is complete. Errors name `output`.
    """
    final = output.resolve()
    fresh = _staging(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        adapter.save(fresh)
        _replace(fresh, final)
    except OSError as error:
        raise _cannot_write(output, error) from error
    except PocketLoraError as error:
        raise PocketLoraError(error.status, str(error).replace(str(fresh), str(output))) from error
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
