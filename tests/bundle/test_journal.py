"""A journaled file after every kind of interruption: what is kept is right, what is not covered is dropped."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pocketlora_export.bundle import journal as journaling
from pocketlora_export.bundle.journal import JournaledFile, begin_journal, read_journal

JOB = {"job": 1}
PIECES = [bytes([number]) * (100 + number) for number in range(30)]
WHOLE = b"".join(PIECES)
BOUNDARIES = [len(b"".join(PIECES[: n + 1])) for n in range(len(PIECES))]


@pytest.fixture(autouse=True)
def _settle_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journaling, "SETTLE_BYTES", 300)


def _write(folder: Path, stop_after: int | None = None) -> tuple[int, str]:
    """Write what is missing of WHOLE, stopping behind a piece: the bytes found, and the SHA-256."""
    path = folder / "journal"
    journal = read_journal(path) or begin_journal(path, JOB)
    with JournaledFile(folder / "file", path, journal) as file:
        found = file.size
        for number, piece in enumerate(PIECES):
            if BOUNDARIES[number] <= found:
                continue
            if number == stop_after:
                raise KeyboardInterrupt
            file.write(piece)
            file.settle()
    return found, file.sha256()


def _stop(folder: Path, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        _write(folder, after)


@pytest.mark.parametrize("stop", range(len(PIECES)))
def test_continued_behind_every_piece(tmp_path: Path, stop: int) -> None:
    _stop(tmp_path, stop)
    found, sha256 = _write(tmp_path)
    assert (tmp_path / "file").read_bytes() == WHOLE
    assert sha256 == hashlib.sha256(WHOLE).hexdigest()
    written = BOUNDARIES[stop - 1] if stop else 0
    # No more than SETTLE_BYTES and the piece that crossed them are lost.
    assert written - 300 - len(PIECES[-1]) < found <= written


def test_a_finished_file_is_kept_whole(tmp_path: Path) -> None:
    _write(tmp_path)
    found, sha256 = _write(tmp_path)
    assert (found, sha256) == (len(WHOLE), hashlib.sha256(WHOLE).hexdigest())


def test_every_line_covers_bytes_that_are_in_the_file(tmp_path: Path) -> None:
    _write(tmp_path)
    journal = read_journal(tmp_path / "journal")
    assert journal is not None
    assert len(journal.extents) > 5
    assert journal.size == len(WHOLE)
    for extent in journal.extents:
        assert extent.size in BOUNDARIES
        assert extent.sha256 == hashlib.sha256(WHOLE[: extent.size]).hexdigest()


@pytest.mark.parametrize("stop", [10, 20, 29])
def test_bytes_that_no_line_covers_are_cut_off(tmp_path: Path, stop: int) -> None:
    _stop(tmp_path, stop)
    with (tmp_path / "file").open("ab") as file:
        file.write(b"torn" * 1000)
    _write(tmp_path)
    assert (tmp_path / "file").read_bytes() == WHOLE


@pytest.mark.parametrize("place", [0, 500, 1500, 2500])
def test_a_damaged_prefix_is_made_again_from_the_damage_on(tmp_path: Path, place: int) -> None:
    _stop(tmp_path, 25)
    data = bytearray((tmp_path / "file").read_bytes())
    data[place] ^= 1
    (tmp_path / "file").write_bytes(data)
    found, _ = _write(tmp_path)
    assert place - 450 < found <= place
    assert (tmp_path / "file").read_bytes() == WHOLE


def test_a_file_shorter_than_its_journal(tmp_path: Path) -> None:
    _stop(tmp_path, 25)
    os.truncate(tmp_path / "file", 1234)
    found, _ = _write(tmp_path)
    assert 0 < found <= 1234
    assert (tmp_path / "file").read_bytes() == WHOLE


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    _stop(tmp_path, 25)
    (tmp_path / "file").unlink()
    assert _write(tmp_path)[0] == 0
    assert (tmp_path / "file").read_bytes() == WHOLE


def _digit(line: bytes) -> bytes:
    found = json.loads(line)
    return json.dumps(found | {"sha256": "0" * 64}).encode() + b"\n"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda line: line[: len(line) // 2],
    "no end of line": lambda line: line[:-1],
    "not JSON": lambda line: b"\x00" * len(line),
    "not an object": lambda _: b"[]\n",
    "no size": lambda _: b'{"sha256": "00"}\n',
    "smaller than before": lambda _: b'{"size": 1, "sha256": "00"}\n',
    "another digest": _digit,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [1, 3, -1])
def test_a_damaged_line_ends_the_journal(tmp_path: Path, damage: str, which: int) -> None:
    _stop(tmp_path, 25)
    lines = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    good = [json.loads(line)["size"] for line in lines[1:][: which - 1 if which > 0 else -1]]
    lines[which] = DAMAGE[damage](lines[which])
    (tmp_path / "journal").write_bytes(b"".join(lines))
    found, _ = _write(tmp_path)
    assert found == (good[-1] if good else 0)
    assert (tmp_path / "file").read_bytes() == WHOLE
    # The journal is whole again.
    assert _write(tmp_path)[0] == len(WHOLE)


@pytest.mark.parametrize("data", [b"", b"\x00" * 50, b'{"fingerpr', b"{}\n", b'{"fingerprint": {"job": 1}}'])
def test_a_journal_without_a_first_line_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "journal").write_bytes(data)
    assert read_journal(tmp_path / "journal") is None


def test_no_journal(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal") is None


def test_a_line_is_written_after_its_bytes_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When fsync fails, nothing says that the bytes are there."""
    _stop(tmp_path, 10)
    before = read_journal(tmp_path / "journal")

    def fail(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(5, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="broken"):
            _write(tmp_path)
    assert read_journal(tmp_path / "journal") == before
    _write(tmp_path)
    assert (tmp_path / "file").read_bytes() == WHOLE
