"""The last pass: the rows that are left, each into the file of its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.bundle.files import HashingFile
from pocketlora_export.data.prepare.options import KINDS, PrepareOptions
from pocketlora_export.data.prepare.packer import Packer, Piece, token_line
from pocketlora_export.data.prepare.process import REASONS
from pocketlora_export.data.prepare.reading import Progress, Read, json_line
from pocketlora_export.data.prepare.split import SPLITS

REMOVED = "removed.jsonl"


@dataclass(frozen=True)
class Verdict:
    """What becomes of each row: a place in REASONS (0 = it stays), the row that it repeats, a place in SPLITS."""

    reasons: NDArray[np.uint8]
    leaders: NDArray[np.int64]
    splits: NDArray[np.uint8]


@dataclass
class Part:
    """One file of the output."""

    name: str
    rows: int = 0
    lines: int = 0
    tokens: int = 0
    labels: int = 0
    size: int = 0
    sha256: str = ""

    def as_json(self, *, tokens: bool, labels: bool) -> dict[str, Any]:
        """For stats.json; a part without rows has no file."""
        found: dict[str, Any] = {"file": f"{self.name}.jsonl" if self.rows else None, "rows": self.rows}
        if tokens:
            found["tokens"] = self.tokens
        if labels:
            found |= {"labels": self.labels, "lines": self.lines}
        return found | {"bytes": self.size, "sha256": self.sha256 or None}


@dataclass
class Written:
    """What the output holds."""

    parts: list[Part] = field(default_factory=lambda: [Part(name) for name in SPLITS])
    kinds: dict[str, int] = field(default_factory=dict)
    chars: list[NDArray[np.uint32]] = field(default_factory=list)
    tokens: list[NDArray[np.uint32]] = field(default_factory=list)


def write_all(read: Read, verdict: Verdict, folder: Path, options: PrepareOptions, progress: Progress) -> Written:
    """Write the parts and the list of removed rows into `folder`."""
    written = Written()
    places = _Places(read) if (verdict.reasons != 0).any() else None
    with ExitStack() as stack:
        outputs = [_Output(part, folder, options, stack) for part in written.parts]
        removed = stack.enter_context(HashingFile(folder / REMOVED))
        done = 0
        for block, payload in _with_payload(read):
            rows = slice(done, done + len(block))
            reasons, splits = verdict.reasons[rows], verdict.splits[rows]
            _write_block(block, payload, reasons, splits, outputs)
            _count(written, block[reasons == 0])
            for row in np.flatnonzero(reasons) + done if places is not None else ():
                removed.write(places.entry(int(row), verdict) if places is not None else b"")
            done += len(block)
            progress("writing", done, read.rows, done)
        for output in outputs:
            output.finish()
    for output in outputs:
        output.settle()
    return written


def _with_payload(read: Read) -> Iterator[tuple[NDArray[np.void], bytes]]:
    with read.spool.open("rb") as spool:
        for block in read.blocks(1 << 12):
            yield block, spool.read(int(block["size"].sum(dtype=np.int64)))


def _write_block(
    block: NDArray[np.void],
    payload: bytes,
    reasons: NDArray[np.uint8],
    splits: NDArray[np.uint8],
    outputs: list[_Output],
) -> None:
    ends = np.cumsum(block["size"], dtype=np.int64).tolist()
    sizes, tokens, labels = block["size"].tolist(), block["tokens"].tolist(), block["labels"].tolist()
    for row in np.flatnonzero(reasons == 0).tolist():
        outputs[splits[row]].add(payload[ends[row] - sizes[row] : ends[row]], tokens[row], labels[row])


def _count(written: Written, kept: NDArray[np.void]) -> None:
    for kind, count in enumerate(np.bincount(kept["kind"], minlength=len(KINDS)).tolist()):
        if count:
            written.kinds[KINDS[kind]] = written.kinds.get(KINDS[kind], 0) + count
    written.chars.append(kept["chars"].copy())
    written.tokens.append(kept["tokens"].copy())


class _Places:
    """Where each row came from."""

    def __init__(self, read: Read) -> None:
        self._paths = [str(entry.path) for entry in read.files]
        self._files, self._lines = read.column("file"), read.column("line")

    def entry(self, row: int, verdict: Verdict) -> bytes:
        """The line of removed.jsonl about a row."""
        found: dict[str, object] = {**self._at(row), "reason": REASONS[verdict.reasons[row]]}
        leader = int(verdict.leaders[row])
        return json_line(found if leader == row else found | {"of": self._at(leader)})

    def _at(self, row: int) -> dict[str, object]:
        return {"file": self._paths[int(self._files[row])], "line": int(self._lines[row])}


class _Output:
    """One part: its file is made with its first row."""

    def __init__(self, part: Part, folder: Path, options: PrepareOptions, stack: ExitStack) -> None:
        self.part = part
        self._path = folder / f"{part.name}.jsonl"
        self._stack = stack
        self._file: HashingFile | None = None
        self._tokens = options.tokens
        self._packer = None if options.pack is None else Packer(options.pack, options.max_segments, self._write)

    def add(self, payload: bytes, tokens: int, labels: int) -> None:
        """One row."""
        self.part.rows += 1
        self.part.tokens += tokens
        self.part.labels += labels
        if not self._tokens:
            self._write(payload)
            return
        ids, wanted, _ = payload.split(b"\0")
        piece = Piece(tokens, ids, wanted)
        if self._packer is None:
            self._write(token_line([piece], packed=False))
        else:
            self._packer.add(piece)

    def finish(self) -> None:
        """Write what is held back."""
        if self._packer is not None:
            self._packer.finish()

    def settle(self) -> None:
        """Note size and checksum, after the file was closed."""
        if self._file is not None:
            self.part.size, self.part.sha256 = self._file.size, self._file.sha256()

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._stack.enter_context(HashingFile(self._path))
        self._file.write(line)
        self.part.lines += 1
