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
    with pytest.raises((PocketLoraError, KeyboardInterrupt)):
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
    with pytest.raises(PocketLoraError, match="below cannot be written: Not a directory") as caught:
        check_output(tmp_path / "file" / "below", force=False)
    assert caught.value.status == Status.IO_WRITE


def test_new_and_empty_folders_are_fine(tmp_path: Path) -> None:
    check_output(tmp_path, force=False)
    check_output(tmp_path / "a" / "b", force=False)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_found_out_by_trying() -> None:
    # The kernel's own file system takes no folder, whoever asks and whatever the permissions say.
    output = Path("/proc/adapter")
    with pytest.raises(PocketLoraError, match="output /proc/adapter cannot be written") as caught:
        check_output(output, force=False)
    assert caught.value.status == Status.IO_WRITE


def test_errors_of_saving_name_the_output(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(PocketLoraError, match=f"output {output} cannot be written: No space left") as caught:
        save_adapter(FakeAdapter("new", fail), output)
    assert caught.value.status == Status.DISK_FULL

    class Runtime:
        def save(self, directory: Path) -> None:
            raise PocketLoraError(Status.DISK_FULL, f"{directory}/weights: disk full")

    with pytest.raises(PocketLoraError) as told:
        save_adapter(Runtime(), output)
    assert str(told.value) == f"{output}/weights: disk full"


@pytest.mark.parametrize("below", [".", "adapter", "a/b", "../link/adapter"])
def test_a_bundle_holds_no_output(tmp_path: Path, below: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (tmp_path / "link").symlink_to(bundle)
    with pytest.raises(PocketLoraError, match="expected a folder outside the bundle") as caught:
        check_output(bundle / below, force=True, bundle=bundle)
    assert caught.value.status == Status.INVALID_ARGUMENT
    assert list(bundle.iterdir()) == []
    check_output(tmp_path / "bundle-adapter", force=False, bundle=bundle)


def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    save_adapter(FakeAdapter("new"), tmp_path / "out")
    assert (tmp_path / "real" / WEIGHTS_NAME).read_text() == "new"
