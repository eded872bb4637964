"""A folder appears whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pocketlora_export.bundle.files import HashingFile, hash_file, new_folder, require_space
from pocketlora_export.errors import PocketLoraError, Status


def _make(target: Path, text: str = "new", force: bool = False) -> None:
    with new_folder(target, "marker", force) as folder:
        (folder / "marker").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text(text)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_appears_complete(tmp_path: Path) -> None:
    _make(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "sub" / "file").read_text() == "new"
    assert _names(tmp_path / "deep") == ["out"]


def test_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _make(tmp_path / "out")
    assert _names(tmp_path) == ["out"]


def test_existing_is_kept_without_force(tmp_path: Path) -> None:
    _make(tmp_path / "out", "old")
    with pytest.raises(PocketLoraError, match="--force replaces it") as caught:
        _make(tmp_path / "out")
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert (tmp_path / "out" / "marker").read_text() == "old"


def test_force_replaces_the_same_kind_only(tmp_path: Path) -> None:
    _make(tmp_path / "out", "old")
    _make(tmp_path / "out", force=True)
    assert (tmp_path / "out" / "marker").read_text() == "new"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(PocketLoraError, match="left alone"):
        _make(tmp_path / "home", force=True)
    assert _names(tmp_path) == ["home", "out"]
    assert _names(tmp_path / "home") == ["letter"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(PocketLoraError, match="not a folder"):
        _make(tmp_path / "out", force=True)


def _fail_halfway(target: Path, failure: BaseException) -> None:
    with new_folder(target, "marker", force=True) as folder:
        (folder / "marker").write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("no"), SystemExit(3)])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_is_left_behind(tmp_path: Path, failure: BaseException, existing: bool) -> None:
    if existing:
        _make(tmp_path / "out", "old")
    with pytest.raises(type(failure)):
        _fail_halfway(tmp_path / "out", failure)
    assert _names(tmp_path) == (["out"] if existing else [])
    if existing:
        assert (tmp_path / "out" / "marker").read_text() == "old"


def test_a_failing_rename_restores_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path / "out", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _make(tmp_path / "out", force=True)
    assert _names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "marker").read_text() == "old"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (errno.ENOSPC, Status.DISK_FULL),
        (errno.EDQUOT, Status.DISK_FULL),
        (errno.EIO, Status.IO_WRITE),
        (errno.EROFS, Status.IO_WRITE),
    ],
)
def test_failed_writes(tmp_path: Path, code: int, status: Status) -> None:
    with pytest.raises(PocketLoraError, match="not written") as caught, new_folder(tmp_path / "out", "marker"):
        raise OSError(code, os.strerror(code))
    assert caught.value.status is status
    assert _names(tmp_path) == []


def test_space_is_asked_for(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(PocketLoraError, match="MB needed") as caught:
        require_space(tmp_path, 1 << 60)
    assert caught.value.status is Status.DISK_FULL


def test_hashes_while_writing(tmp_path: Path) -> None:
    with HashingFile(tmp_path / "f") as file:
        for piece in (b"abc", memoryview(b"defg"), b""):
            file.write(piece)
    assert file.size == 7
    done: list[int] = []
    assert hash_file(tmp_path / "f", done.append) == file.sha256()
    assert sum(done) == 7
