"""Writing an adapter folder: checked before the work, whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.adapters.peft_folder import CONFIG_NAME, WEIGHTS_NAME
from pocketlora_export.errors import PocketLoraError, Status


class FakeAdapter:
    """Writes two files, then does what a test asks for."""

    def __init__(self, content: str, then: Callable[[], None] = lambda: None) -> None:
        self._content = content
        self._then = then

    def save(self, directory: Path) -> None:
        directory.mkdir()
        (directory / CONFIG_NAME).write_text(self._content)
        self._then()
        (directory / WEIGHTS_NAME).write_text(self._content)


def fail() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt() -> None:
    raise KeyboardInterrupt


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


WHOLE = {f"out/{CONFIG_NAME}": "new", f"out/{WEIGHTS_NAME}": "new"}


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    save_adapter(FakeAdapter("new"), tmp_path / "deep" / "out")
    assert files(tmp_path / "deep") == WHOLE


@pytest.mark.parametrize("existing", [None, "empty", "adapter"])
def test_an_output_is_replaced_as_a_whole(tmp_path: Path, existing: str | None) -> None:
    output = tmp_path / "out"
    if existing is not None:
        output.mkdir()
    if existing == "adapter":
        save_adapter(FakeAdapter("old"), output)
        (output / "README.md").write_text("of the old one")
    save_adapter(FakeAdapter("new"), output)
    assert files(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("trouble", [fail, interrupt])
@pytest.mark.parametrize("existing", [False, True])
def test_trouble_leaves_what_was_there(tmp_path: Path, trouble: Callable[[], None], existing: bool) -> None:
    output = tmp_path / "out"
    if existing:
        save_adapter(FakeAdapter("old"), output)
    before = files(tmp_path)
    with pytest.raises((OSError, KeyboardInterrupt)):
        save_adapter(FakeAdapter("new", trouble), output)
    assert files(tmp_path) == before
    assert output.exists() == existing
    assert len(list(tmp_path.iterdir())) == existing


def test_an_adapter_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    output = tmp_path / "out"
    save_adapter(FakeAdapter("old"), output)
    with pytest.raises(PocketLoraError, match=r"already holds an adapter; .* --force") as caught:
        check_output(output, force=False)
    assert caught.value.status == Status.INVALID_ARGUMENT
    check_output(output, force=True)


def test_other_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(PocketLoraError, match="is not empty"):
            check_output(tmp_path, force=force)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PocketLoraError, match="expected a folder, found a file"):
        check_output(tmp_path / "file", force=True)
    with pytest.raises(PocketLoraError, match="is not a writable folder") as caught:
        check_output(tmp_path / "file" / "below", force=False)
    assert caught.value.status == Status.IO_WRITE


def test_new_and_empty_folders_are_fine(tmp_path: Path) -> None:
    check_output(tmp_path, force=False)
    check_output(tmp_path / "a" / "b", force=False)
    assert list(tmp_path.iterdir()) == []
