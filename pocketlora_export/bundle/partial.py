"""The work of a long job beside its target: `.NAME.partial` with a lock, a journal and the folder that is to appear."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlora_export.bundle.files import Advance, check_target, publish, sync, sync_tree, write_error
from pocketlora_export.bundle.journal import Journal, JournaledFile, begin_journal, read_journal
from pocketlora_export.errors import PocketLoraError, Status

_LOCK, _JOURNAL, _FOLDER = "lock", "journal", "folder"
_ATTEMPTS = 100


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; the message says what is kept and how to go on."""


@dataclass
class Work:
    """A place to write into.

    Attributes:
        folder: what will appear under the target's name; it holds at most the journaled file of an earlier run.
        fresh: why earlier work is not continued; "" when it is, or when there was none.
    """

    folder: Path
    fresh: str
    _place: Path
    _name: str
    _journal: Journal

    @property
    def kept(self) -> int:
        """Bytes of the journaled file that the journal calls durable."""
        return self._journal.size

    def open(self, advance: Advance | None = None) -> JournaledFile:
        """The journaled file behind what could be kept of it; `advance` is called with the bytes checked."""
        return JournaledFile(self.folder / self._name, self._place / _JOURNAL, self._journal, advance)


def _lock(place: Path, target: Path) -> int:
    """A descriptor that holds the lock of a place, which is made when it is not there."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileExistsError):
            place.mkdir()
        try:
            descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # another process finished and removed the place
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (place / _LOCK).stat()):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                held, descriptor = descriptor, -1
                return held
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            message = f"{target}: another export is writing it (process {owner}, {place})"
            raise PocketLoraError(Status.INVALID_STATE, message) from None
        except FileNotFoundError:
            continue
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    raise PocketLoraError(Status.IO_WRITE, f"{place}: cannot be locked")


def _drop(place: Path) -> None:
    """Remove a place, the lock last. Only what this module makes is removed."""
    shutil.rmtree(place / _FOLDER, ignore_errors=True)
    for name in (_JOURNAL, _LOCK):
        with contextlib.suppress(OSError):
            (place / name).unlink()
    with contextlib.suppress(OSError):
        place.rmdir()


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two fingerprints: names of their parts, and of the parts of those."""
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            parts = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
            found.append(f"{key}: {', '.join(parts[:3])}{', …' if len(parts) > 3 else ''}")
        else:
            found.append(key)
    return found


def _why_fresh(place: Path, journal: Journal | None, fingerprint: dict[str, Any], resume: bool) -> str:
    """Why earlier work in a place is not continued; "" when it is, or when there is none."""
    if not resume:
        return "as asked for" if journal is not None else ""
    if journal is None:
        return "its journal is damaged" if (place / _JOURNAL).exists() else ""
    changed = _differences(journal.fingerprint, fingerprint)
    return f"this is another job ({'; '.join(changed)})" if changed else ""


def _prepare(place: Path, name: str, fingerprint: dict[str, Any], resume: bool) -> Work:
    """The place for a job: with the journaled file and its journal where they are of use, otherwise empty."""
    folder, path = place / _FOLDER, place / _JOURNAL
    journal = read_journal(path)
    fresh = _why_fresh(place, journal, fingerprint, resume)
    if journal is None or fresh:
        shutil.rmtree(folder, ignore_errors=True)
        journal = begin_journal(path, fingerprint)
    folder.mkdir(exist_ok=True)
    for other in folder.iterdir():
        if other.is_dir() and not other.is_symlink():
            shutil.rmtree(other)
        elif other.name != name:
            other.unlink()
    sync(place)
    sync(place.parent)
    return Work(folder, fresh, place, name, journal)


def _keeps(error: BaseException) -> bool:
    """Whether running the same job again can get further: not when its input or its options are at fault."""
    return not (isinstance(error, PocketLoraError) and error.status // 100 in (1, 2))


def _what_is_kept(place: Path, name: str, target: Path) -> str:
    """For the user, "" when nothing is worth keeping."""
    journal = read_journal(place / _JOURNAL)
    if journal is None or not journal.size:
        return ""
    size = f"{journal.size / 1e6:.1f} MB of {target.name}/{name}"
    return f"{size} are kept in {place}: the same command goes on from there; to give up, remove that folder"


def _leave(place: Path, name: str, target: Path, error: BaseException) -> str:
    """Keep or drop the work when a job fails; the message about what is kept."""
    kept = _what_is_kept(place, name, target) if _keeps(error) and (place / _FOLDER).exists() else ""
    if not kept:
        _drop(place)
    return kept


@contextlib.contextmanager
def resumable_folder(
    target: Path, marker: str, name: str, fingerprint: dict[str, Any], force: bool = False, resume: bool = True
) -> Iterator[Work]:
    """A folder that appears under its final name complete and durable; its largest file survives interruptions.

    Args:
        target: final name.
        marker: a file by which an older folder of the same kind is known; only such a folder is ever replaced.
        name: the file that is journaled (`Work.open`); everything else is made anew by each run.
        fingerprint: all that the file's bytes depend on, as JSON; work with another fingerprint is not continued.
        force: replace an older folder.
        resume: continue earlier work.

    Raises:
        PocketLoraError: INVALID_ARGUMENT when `target` may not be replaced; INVALID_STATE while another process writes
            it; DISK_FULL or IO_WRITE when writing fails. What was durable by then is kept, and the message says so.
        Interrupted: for KeyboardInterrupt, likewise.
    """
    target = check_target(target, marker, force)
    place = target.with_name(f".{target.name}.partial")
    fingerprint = json.loads(json.dumps(fingerprint))
    with write_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(place, target)
    try:
        with write_error(target):
            work = _prepare(place, name, fingerprint, resume)
            yield work
            sync_tree(work.folder)
            publish(work.folder, target)
            _drop(place)
    except KeyboardInterrupt as error:
        raise Interrupted(_leave(place, name, target, error)) from error
    except PocketLoraError as error:
        kept = _leave(place, name, target, error)
        raise PocketLoraError(error.status, f"{error}\n{kept}" if kept else str(error)) from error
    except BaseException as error:
        _leave(place, name, target, error)
        raise
    finally:
        os.close(lock)
