"""The training text of the demo model: the six novels of Jane Austen.

The novels are in the public domain. They are read from the Debian package
``r-cran-janeaustenr`` (MIT), which stores each one as an R character vector
with one element per printed line.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "r-cran-janeaustenr"
RDB_PATH = Path("usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")

_STRSXP = 16
_CHARSXP = 9
_NA_LENGTH = -1
_MIN_CHAPTER_CHARS = 1000

_HEADING = re.compile(r"^(chapter|volume|letter)\b[\s.]*[\divxlc]*\.?$", re.IGNORECASE)
_END = re.compile(r"^(the end|finis|a note on the text)\.?$", re.IGNORECASE)
_PUNCTUATION = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--"})


@dataclass(frozen=True)
class Chapter:
    """One chapter of clean prose, as a list of unwrapped paragraphs."""

    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs separated by blank lines."""
        return "\n\n".join(self.paragraphs)


def fetch_rdb(directory: Path) -> Path:
    """Download the Debian package (no root needed) and return its data file."""
    data = directory / "root" / RDB_PATH
    if data.exists():
        return data
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise RuntimeError("the corpus comes from a Debian package: apt-get and dpkg are needed")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(
            ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE], cwd=temporary, check=True
        )
        package = next(Path(temporary).glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(directory / "root")], check=True)
    return data


def read_character_vectors(rdb: bytes) -> Iterator[list[str]]:
    """Yield each character vector of an R lazy-load database.

    The file is a run of records: a big-endian length of the unpacked bytes,
    then one zlib stream.
    """
    while rdb:
        (expected,) = struct.unpack_from(">I", rdb)
        stream = zlib.decompressobj()
        record = stream.decompress(rdb[4:])
        if len(record) != expected:
            raise ValueError(f"R record holds {len(record)} bytes, its header says {expected}")
        yield _parse_strings(record)
        rdb = stream.unused_data


def _parse_strings(record: bytes) -> list[str]:
    """Decode one R-serialised (XDR, version 2 or 3) character vector."""
    if record[:2] != b"X\n":
        raise ValueError("not an R serialisation in XDR form")
    (version,) = struct.unpack_from(">i", record, 2)
    offset = 14
    if version == 3:
        (encoding_length,) = struct.unpack_from(">i", record, offset)
        offset += 4 + encoding_length
    kind, count = struct.unpack_from(">Ii", record, offset)
    if kind & 0xFF != _STRSXP:
        raise ValueError(f"expected a character vector, found R type {kind & 0xFF}")
    offset += 8
    strings: list[str] = []
    for _ in range(count):
        kind, length = struct.unpack_from(">Ii", record, offset)
        if kind & 0xFF != _CHARSXP:
            raise ValueError(f"expected a string, found R type {kind & 0xFF}")
        offset += 8
        size = 0 if length == _NA_LENGTH else length
        strings.append(record[offset : offset + size].decode("utf-8"))
        offset += size
    return strings


def clean_line(line: str) -> str:
    """Plain ASCII punctuation, no emphasis marks, single spaces."""
    line = line.translate(_PUNCTUATION).replace("_", "")
    line = re.sub(r"-{2,}", "--", line)
    return re.sub(r"\s+", " ", line).strip()


def split_chapters(lines: list[str]) -> list[Chapter]:
    """Cut a novel into chapters; front matter and headings are dropped."""
    chapters: list[list[str]] = [[]]
    wrapped: list[str] = []
    for line in [*map(clean_line, lines), ""]:
        heading = bool(_HEADING.match(line) or _END.match(line))
        if line and not heading:
            wrapped.append(line)
            continue
        if wrapped and not wrapped[0].startswith("*"):
            chapters[-1].append(" ".join(wrapped))
        wrapped = []
        if heading:
            chapters.append([])
    found = [Chapter(tuple(paragraphs)) for paragraphs in chapters]
    return [chapter for chapter in found if len(chapter.text) >= _MIN_CHAPTER_CHARS]


def load_chapters(directory: Path) -> list[Chapter]:
    """All chapters of all novels, fetched into ``directory`` on first use."""
    rdb = fetch_rdb(directory).read_bytes()
    return [chapter for lines in read_character_vectors(rdb) for chapter in split_chapters(lines)]


def hold_out(chapters: list[Chapter], every: int = 20) -> tuple[list[Chapter], list[Chapter]]:
    """Split into (training, held-out): each ``every``-th chapter is held out."""
    training = [c for i, c in enumerate(chapters) if i % every != every - 1]
    return training, chapters[every - 1 :: every]


def dialogues(chapter: Chapter, longest: int = 400) -> list[tuple[str, ...]]:
    """Runs of at least two consecutive spoken paragraphs of bounded length."""
    runs: list[tuple[str, ...]] = []
    run: list[str] = []
    for paragraph in (*chapter.paragraphs, ""):
        if paragraph.startswith('"') and len(paragraph) <= longest:
            run.append(paragraph)
            continue
        if len(run) >= 2:
            runs.append(tuple(run))
        run = []
    return runs
