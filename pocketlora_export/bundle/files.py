"""Hashing, durable writing and the appearing of a finished folder in one step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error

if TYPE_CHECKING:
    from typing_extensions import Self

CHUNK = 1 << 22
Advance = Callable[[int], None]


def hash_file(path: Path, advance: Advance | None = None) -> str:
    """SHA-256 of a file, hex. `advance` is called with the bytes of each piece."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            if advance is not None:
                advance(len(piece))
    return digest.hexdigest()


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """fsync a folder and everything in it."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


class HashingFile:
    """A new file that is hashed while it is written, and durable once closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        """Hex digest of everything written."""
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())


def require_space(folder: Path, nbytes: int) -> None:
    """Raise DISK_FULL now rather than after minutes of work."""
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise PocketLoraError(Status.DISK_FULL, f"{folder}: {nbytes / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")


def check_target(target: Path, marker: str, force: bool) -> Path:
    """The absolute path of a folder that is to be written.

    Raises:
        PocketLoraError: INVALID_ARGUMENT when something is there that may not be replaced.
    """
    target = Path(os.path.abspath(target.expanduser()))  # noqa: PTH100  (a link at the end must stay visible)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"{target} exists and is not a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return target
    if not (target / marker).is_file():
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"{target} is not empty and holds no {marker}: it is left alone")
    if not force:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"{target} exists; --force replaces it")
    return target


def publish(staging: Path, target: Path) -> None:
    """Give a finished folder its final name, an older folder aside first; fsync the parent."""
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    replaced = target.exists()
    if replaced:
        target.rename(aside)
    try:
        staging.rename(target)
    except BaseException:
        if replaced and not target.exists():
            aside.rename(target)
        raise
    sync(target.parent)
    if replaced:
        shutil.rmtree(aside)


@contextlib.contextmanager
def write_error(target: Path) -> Iterator[None]:
    """Failed system calls in the block become DISK_FULL or IO_WRITE of `target`."""
    try:
        yield
    except OSError as error:
        status = status_of_os_error(error)
        status = Status.IO_WRITE if status in (Status.INPUT_MISSING, Status.IO_READ) else status
        raise PocketLoraError(status, f"{target}: not written: {error.strerror or error}") from error


@contextlib.contextmanager
def new_folder(target: Path, marker: str, force: bool = False) -> Iterator[Path]:
    """A folder that appears under its final name complete and durable, or not at all.

    Args:
        target: final name.
        marker: a file by which an older folder of the same kind is known; only such a folder is ever replaced.
        force: replace it.

    Yields:
        An empty folder beside `target` to write into.

    Raises:
        PocketLoraError: INVALID_ARGUMENT when `target` may not be replaced; DISK_FULL or IO_WRITE when writing fails.
    """
    target = check_target(target, marker, force)
    staging = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        with write_error(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            staging.mkdir()
            yield staging
            sync_tree(staging)
            publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
