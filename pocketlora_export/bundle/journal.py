"""A file that survives an interruption: what its journal covers is on disk and can be checked, what follows is dropped.

The journal is a text file of JSON lines. The first is the fingerprint of the job, each of the others
`{"size": n, "sha256": "…"}`: the first n bytes of the file are durable, and that is their SHA-256. A line is written
after the bytes that it covers. A line that is torn or altered ends the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pocketlora_export.bundle.files import CHUNK, Advance, sync

if TYPE_CHECKING:
    from typing_extensions import Self

# The bytes that an interruption costs at most; the disk is asked to settle once for so many.
SETTLE_BYTES = 64 << 20


@dataclass(frozen=True)
class Extent:
    """The first `size` bytes of a file and their SHA-256, hex. `end`: where its line ends in the journal."""

    size: int
    sha256: str
    end: int


@dataclass(frozen=True)
class Journal:
    """What a journal file says: the fingerprint of its job, and what is durable."""

    fingerprint: dict[str, Any]
    extents: tuple[Extent, ...]
    header_end: int

    @property
    def size(self) -> int:
        """Bytes that are said to be durable."""
        return self.extents[-1].size if self.extents else 0


def _append(path: Path, line: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        data = memoryview((json.dumps(line) + "\n").encode("ascii"))
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_journal(path: Path, fingerprint: dict[str, Any]) -> Journal:
    """A new journal in the place of whatever is there."""
    path.unlink(missing_ok=True)
    _append(path, {"fingerprint": fingerprint})
    sync(path.parent)
    return Journal(fingerprint, (), path.stat().st_size)


def read_journal(path: Path) -> Journal | None:
    """What can be made of a journal file; None when there is none, or not even its first line is whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    lines = _whole_lines(data)
    end, first = next(lines, (0, {}))
    fingerprint = first.get("fingerprint")
    if not isinstance(fingerprint, dict):
        return None
    header_end = end
    extents: list[Extent] = []
    for end, line in lines:
        size, sha256 = line.get("size"), line.get("sha256")
        grows = isinstance(size, int) and size > (extents[-1].size if extents else 0)
        if not isinstance(size, int) or not grows or not isinstance(sha256, str):
            break
        extents.append(Extent(size, sha256, end))
    return Journal(fingerprint, tuple(extents), header_end)


def _whole_lines(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(where the line ends, its object) up to the first line that is not one."""
    end = 0
    for raw in data.splitlines(keepends=True):
        end += len(raw)
        try:
            line = json.loads(raw)
        except ValueError:
            return
        if not raw.endswith(b"\n") or not isinstance(line, dict):
            return
        yield end, line


class JournaledFile:
    """A file that is appended to, hashed while it grows, and settled on disk every `SETTLE_BYTES`.

    Opening it checks what the journal covers, keeps it up to the last extent that is whole, and cuts off the rest. The
    disk settles in a thread of its own, while the next bytes are made.
    """

    def __init__(self, path: Path, journal_path: Path, journal: Journal, advance: Advance | None = None) -> None:
        self._journal_path = journal_path
        self._digest = hashlib.sha256()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._settling: Future[None] | None = None
        try:
            self.size, end = self._check(journal, advance)
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            os.truncate(journal_path, end)
            sync(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._settled = self.size
        self._thread = ThreadPoolExecutor(1)

    def _check(self, journal: Journal, advance: Advance | None) -> tuple[int, int]:
        """Bytes to keep, and where the journal's line about them ends. The digest is left at those bytes."""
        size, end = 0, journal.header_end
        reached = hashlib.sha256()
        for extent in journal.extents:
            for count in self._hash(reached, extent.size - size):
                if advance is not None:
                    advance(count)
            if reached.hexdigest() != extent.sha256:
                break
            size, end = extent.size, extent.end
            self._digest = reached.copy()
        return size, end

    def _hash(self, digest: Any, count: int) -> Iterator[int]:
        """Read on from where the file stands; a file that ends early leaves a digest that fits nothing."""
        while count and (piece := os.read(self._descriptor, min(count, CHUNK))):
            digest.update(piece)
            count -= len(piece)
            yield len(piece)

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._digest.update(data)
        self.size += len(data)

    def settle(self, least: int | None = None) -> None:
        """A place to go on from: once `least` bytes are new, they are made durable and told to the journal."""
        if self.size - self._settled < (SETTLE_BYTES if least is None else least):
            return
        self._wait()
        self._settling = self._thread.submit(self._settle, self.size, self.sha256())
        self._settled = self.size

    def _settle(self, size: int, sha256: str) -> None:
        os.fsync(self._descriptor)
        _append(self._journal_path, {"size": size, "sha256": sha256})

    def _wait(self) -> None:
        if self._settling is not None:
            settling, self._settling = self._settling, None
            settling.result()

    def sha256(self) -> str:
        """Hex digest of everything in the file."""
        return self._digest.copy().hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.settle(1)
                self._wait()
            else:
                # The failure that is on its way is the one to tell of.
                with contextlib.suppress(OSError):
                    self._wait()
        finally:
            self._thread.shutdown(wait=True)
            os.close(self._descriptor)
