"""Writing an adapter under its final name only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pocketlora_export.adapters import mlx_folder, peft_folder
from pocketlora_export.adapters.artifact import METADATA_NAME, METRICS_NAME
from pocketlora_export.adapters.checksums import CHECKSUMS_NAME
from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.bundle.files import sync
from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error

ADAPTER_FILES = {CONFIG_NAME, peft_folder.WEIGHTS_NAME, mlx_folder.WEIGHTS_NAME}
# What a training run leaves beside its adapter: nothing of another adapter may keep it.
RUN_FILES = {METADATA_NAME, METRICS_NAME, CHECKSUMS_NAME}


class Savable(Protocol):
    """An adapter that can write itself as a PEFT folder."""

    def save(self, directory: Path) -> None:
        """Write the folder's files."""


def check_output(output: Path, *, force: bool, bundle: Path | None = None) -> None:
    """Find out before any work whether an adapter can be written to `output`.

    A folder that is new or empty is fine, a mount point too; one that holds an adapter is replaced with `force` only;
    one that holds anything else is refused, and so is a place in `bundle`. Making what `save_adapter` makes is tried,
    and undone. Raises INVALID_ARGUMENT, or what writing there would raise.
    """
    if bundle is not None and bundle.resolve() in (output.resolve(), *output.resolve().parents):
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"output {output}: expected a folder outside the bundle {bundle}, found one in it"
        )
    if os.path.lexists(output) and not output.is_dir():
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output}: expected a folder, found a file")
    present = {entry.name for entry in output.iterdir()} if output.is_dir() else set()
    if os.path.ismount(output):
        present.discard("lost+found")  # the root of a fresh ext4 has it
    holds_adapter = bool(present & ADAPTER_FILES)
    if holds_adapter and not force:
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"output {output} already holds an adapter; choose another folder, or use --force"
        )
    if present and not holds_adapter:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output} is not empty; choose a new folder")
    try:
        with _staging(output.resolve()) as place:
            place.fresh.mkdir()
    except OSError as error:
        raise _cannot_write(output, error) from None


@dataclass(frozen=True)
class _Place:
    """Where a folder is written before it appears: beside its final name, or within it where it must be kept."""

    fresh: Path
    within: bool


@contextmanager
def _staging(final: Path) -> Iterator[_Place]:
    """A name to write to; what is left under it, and parents that were made for nothing, are removed at the end."""
    made = [folder for folder in final.parents if not os.path.lexists(folder)]
    if made:
        final.parent.mkdir(parents=True, exist_ok=True)
    within = final.is_dir() and not _can_be_replaced(final)
    name = f".{final.name}.{os.getpid()}.new"
    fresh = final / name if within else final.with_name(name)
    # Left by a killed process of the same id: in a container every run may have the same one.
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        yield _Place(fresh, within)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _can_be_replaced(folder: Path) -> bool:
    """Whether another folder can be renamed over this one: not where something is mounted, nor below what is read-only.

    Tried by moving a folder in and back: a mount within one file system is not seen otherwise.
    """
    probe = folder.with_name(f".{folder.name}.{os.getpid()}.probe")
    try:
        probe.mkdir()
    except OSError:
        return False
    inside = folder / probe.name
    try:
        probe.replace(inside)
        inside.replace(probe)
    except OSError:
        return False
    finally:
        for left in (probe, inside):
            with suppress(OSError):
                left.rmdir()
    return not folder.samefile(Path.cwd())


def _cannot_write(output: Path, error: OSError) -> PocketLoraError:
    status = status_of_os_error(error)
    # Without a path of its own a failed write is never a missing input.
    kept = status in (Status.DISK_FULL, Status.OUT_OF_MEMORY)
    return PocketLoraError(status if kept else Status.IO_WRITE, f"output {output} cannot be written: {error.strerror}")


def save_adapter(adapter: Savable, output: Path) -> None:
    """Write beside the final name, then rename; a failure or an interruption leaves nothing behind.

    An adapter that is replaced keeps its place until the new one is complete. A folder that cannot itself be replaced,
    such as a mount point, gets the finished files one by one. Errors name `output`.
    """
    final = output.resolve()
    try:
        with _staging(final) as place:
            fresh = place.fresh
            adapter.save(fresh)
            if place.within:
                _move_files(fresh, final)
            else:
                _replace(fresh, final)
    except OSError as error:
        raise _cannot_write(output, error) from error
    except PocketLoraError as error:
        raise PocketLoraError(error.status, str(error).replace(str(fresh), str(output))) from error


def _move_files(fresh: Path, output: Path) -> None:
    """Move the files of `fresh` into `output`; an old adapter's file that the new one lacks goes last."""
    names = sorted(path.name for path in fresh.iterdir())
    for name in names:
        (fresh / name).replace(output / name)
    for name in (ADAPTER_FILES | RUN_FILES) - set(names):
        (output / name).unlink(missing_ok=True)
    sync(output)


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
