"""The first pass: input files to rows, their bytes in one file and their facts in another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.data.prepare.csv_source import read_csv
from pocketlora_export.data.prepare.json_source import read_json_array
from pocketlora_export.data.prepare.near import NearDuplicates
from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.pool import processed, worker_count
from pocketlora_export.data.prepare.process import ROW, Chunk, Processed
from pocketlora_export.data.prepare.source import Record, SourceFile, read_json_lines
from pocketlora_export.data.prepare.tokenizer import TokenizerSource
from pocketlora_export.data.problems import SHOWN
from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error

CHUNK_ROWS = 512
CHUNK_BYTES = 1 << 21
# What is being done, how much of it is done, how much there is, how many rows were seen.
Progress = Callable[[str, int, int, int], None]


@dataclass
class InputFile:
    """One input and what was found in it."""

    path: Path
    format: str = ""
    size: int = 0
    sha256: str = ""
    rows: int = 0
    bad: int = 0


@dataclass
class Read:
    """What the first pass leaves.

    Attributes:
        index: file of ROW, one for each row that could be read.
        spool: file of the bytes of rows, one after the other.
        near: prints of all rows; None when near-duplicates do not matter.
        rows, bad: rows that could be read, and that could not.
        problems: the first of the latter, each with file:line.
    """

    index: Path
    spool: Path
    near: NearDuplicates | None
    files: list[InputFile]
    rows: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def column(self, name: str) -> NDArray[np.generic]:
        """One field of all rows."""
        result: NDArray[np.generic] = np.empty((self.rows, *ROW[name].shape), dtype=ROW[name].base)
        start = 0
        for block in self.blocks():
            result[start : start + len(block)] = block[name]
            start += len(block)
        return result

    def blocks(self, rows: int = 1 << 14) -> Iterator[NDArray[np.void]]:
        """The index piece by piece."""
        with self.index.open("rb") as file:
            while len(block := np.fromfile(file, dtype=ROW, count=rows)):
                yield block


def read_all(
    files: Sequence[Path],
    work: Path,
    rejected: Path,
    options: PrepareOptions,
    source: TokenizerSource | None,
    progress: Progress,
) -> Read:
    """Read and process every input.

    Args:
        files: the inputs.
        work: an empty folder for the index, the spool and the prints.
        rejected: the file that lists what could not be read.
        options: of the whole job.
        source: the tokenizer, where there is one.
        progress: told now and then.
    """
    near = None if options.near == "keep" else NearDuplicates(work / "near", options.similarity)
    result = Read(work / "index", work / "spool", near, [InputFile(path) for path in files])
    total = sum(_size(path) for path in files)
    workers = worker_count(options.workers, total, has_tokenizer=source is not None)
    chunks = _Chunks(result.files)
    with ExitStack() as stack:
        index, spool = (stack.enter_context(path.open("wb")) for path in (result.index, result.spool))
        list_file = stack.enter_context(rejected.open("xb"))
        if near is not None:
            stack.callback(near.close)
        for part in processed(chunks, options, source, workers):
            index.write(part.rows.tobytes())
            spool.write(part.payload)
            list_file.writelines(_note_bad(result, part))
            if near is not None and part.prints is not None:
                near.add(part.prints)
            result.rows += len(part.rows)
            result.files[part.file].rows += len(part.rows) + len(part.bad)
            progress("reading", min(chunks.size, total), total, result.rows)
    return result


def _note_bad(result: Read, part: Processed) -> Iterator[bytes]:
    path = str(result.files[part.file].path)
    result.bad += len(part.bad)
    result.files[part.file].bad += len(part.bad)
    for line, reason in part.bad:
        if len(result.problems) < SHOWN:
            result.problems.append(f"{path}:{line}: {reason}")
        yield json_line({"file": path, "line": line, "reason": reason})


def json_line(value: dict[str, object]) -> bytes:
    """One line of a list; a path or a text that is not UTF-8 is written with JSON's own escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> PocketLoraError:
    status = status_of_os_error(error)
    status = Status.IO_READ if status == Status.IO_WRITE else status
    return PocketLoraError(status, f"{path}: cannot be read: {error.strerror or error}")


class _Chunks:
    """The records of all files in chunks; `size` is the bytes read so far."""

    def __init__(self, files: Sequence[InputFile]) -> None:
        self.size = 0
        self._files = files

    def __iter__(self) -> Iterator[Chunk]:
        for number, entry in enumerate(self._files):
            yield from self._of_file(number, entry)

    def _of_file(self, number: int, entry: InputFile) -> Iterator[Chunk]:
        before = self.size
        try:
            with SourceFile(entry.path) as file:
                for records in _grouped(_records(file, entry)):
                    self.size = before + file.size
                    yield Chunk(number, records)
                # What comes after the last row belongs to the file, too.
                while file.read(1 << 20):
                    pass
                entry.size, entry.sha256 = file.size, file.sha256()
        except OSError as error:
            raise _unreadable(entry.path, error) from None
        self.size = before + entry.size


def _records(file: SourceFile, entry: InputFile) -> Iterator[Record]:
    suffix = entry.path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        entry.format = "csv"
        return read_csv(file)
    if suffix not in (".jsonl", ".ndjson") and file.peek() == b"[":
        entry.format = "json"
        return read_json_array(file)
    entry.format = "jsonl"
    return read_json_lines(file)


def _grouped(records: Iterator[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += len(record.value) if isinstance(record.value, bytes) else 256
        if len(group) == CHUNK_ROWS or size > CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
