"""Input files as numbered records, one at a time whatever the size of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pocketlora_export.errors import PocketLoraError, Status

if TYPE_CHECKING:
    from typing_extensions import Self

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
# One row may have this many bytes; what is longer is a damaged file rather than a row.
MAX_ROW = 1 << 26


@dataclass(frozen=True)
class Unreadable:
    """A record that is no row, and why."""

    message: str


@dataclass(frozen=True)
class Record:
    """What stands at a line of a file (1 is the first): JSON not yet parsed, a parsed value, or why there is none."""

    line: int
    value: bytes | dict[str, Any] | Unreadable | Any


class SourceFile:
    """A file that is hashed while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = path.open("rb")
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""
        return self._account(self._file.read(size))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line with its number. Of a line beyond MAX_ROW only its first MAX_ROW + 1 bytes come."""
        number = 0
        while line := self._account(self._file.readline(MAX_ROW + 1)):
            number += 1
            if len(line) > MAX_ROW:
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = self._account(self._file.readline(MAX_ROW))
            yield number, line

    def peek(self) -> bytes:
        """The first byte that is no white space, before anything was read; b"" in an empty file."""
        found = b""
        while not found and (piece := self._file.read(4096)):
            found = piece.removeprefix(b"\xef\xbb\xbf").lstrip()
        self._file.seek(0)
        return found[:1]

    def sha256(self) -> str:
        """Hex digest of what was read so far."""
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _account(self, data: bytes) -> bytes:
        self._digest.update(data)
        self.size += len(data)
        return data


def too_long(line: bytes) -> Unreadable | None:
    """Why a line that is longer than any row is not one; None when it is not that long."""
    if len(line) <= MAX_ROW:
        return None
    return Unreadable(f"expected a row of at most {MAX_ROW >> 20} MiB, found a longer line")


def read_json_lines(file: SourceFile) -> Iterator[Record]:
    """JSON Lines: empty lines are skipped, parsing is left to others."""
    for number, line in file.lines():
        if line.strip():
            yield Record(number, too_long(line) or line)


def find_files(inputs: Sequence[Path]) -> list[Path]:
    """The files to read: those that were named, and those of named folders in the order of their names.

    Raises INPUT_MISSING that names every input which is neither, or a folder without any.
    """
    files: list[Path] = []
    problems = []
    for path in inputs:
        if path.is_file():
            files.append(path)
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and _wanted(p, path))
            files += found
            if not found:
                problems.append(f"{path}: expected files named {', '.join('*' + s for s in SUFFIXES)}, found none")
        else:
            found_text = "something that is neither" if path.exists() else "nothing"
            problems.append(f"{path}: expected a file or a folder, found {found_text}")
    twice = sorted({str(path) for path in files if files.count(path) > 1}) if len(files) < 1000 else []
    problems += [f"{path}: named more than once" for path in twice]
    if problems:
        raise PocketLoraError(Status.INPUT_MISSING, "\n".join(problems))
    return files


def _wanted(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden
