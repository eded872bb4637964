"""Writing an adapter folder: checked before the work, whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME
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


def _libc_error(call: str, code: int) -> str:
    return f"{call}: {os.strerror(code)}"


@pytest.fixture(params=["tmpfs", "bind"])
def mount_point(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder on which a file system is really mounted: another one, or a folder of the same one."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    place, source = tmp_path / "mounted", tmp_path / "source"
    place.mkdir()
    source.mkdir()
    bind_flag = 4096 if request.param == "bind" else 0
    kind = None if bind_flag else b"tmpfs"
    if libc.mount(bytes(source), bytes(place), kind, bind_flag, None) != 0:
        pytest.skip(_libc_error("mounting is not allowed here", ctypes.get_errno()))
    try:
        yield place
    finally:
        assert libc.umount2(bytes(place), 2) == 0, _libc_error("umount", ctypes.get_errno())


def test_an_adapter_is_written_into_a_mount_point(mount_point: Path) -> None:
    check_output(mount_point, force=False)
    assert list(mount_point.iterdir()) == []
    save_adapter(FakeAdapter("old"), mount_point)
    check_output(mount_point, force=True)
    save_adapter(FakeAdapter("new"), mount_point)
    assert files(mount_point) == {CONFIG_NAME: "new", WEIGHTS_NAME: "new"}
    assert not list(mount_point.parent.glob(".*"))


def test_trouble_leaves_what_was_in_a_mount_point(mount_point: Path) -> None:
    save_adapter(FakeAdapter("old"), mount_point)
    with pytest.raises(PocketLoraError, match=f"output {mount_point} cannot be written: No space left"):
        save_adapter(FakeAdapter("new", fail), mount_point)
    assert files(mount_point) == {CONFIG_NAME: "old", WEIGHTS_NAME: "old"}


def test_the_working_folder_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_output(Path(), force=False)
    save_adapter(FakeAdapter("new"), Path())
    assert files(Path()) == {CONFIG_NAME: "new", WEIGHTS_NAME: "new"}


def test_parents_that_were_made_for_nothing_go(tmp_path: Path) -> None:
    with pytest.raises(PocketLoraError):
        save_adapter(FakeAdapter("new", fail), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / f".out.{os.getpid()}.new"
    left.mkdir()
    (left / WEIGHTS_NAME).write_text("half")
    check_output(tmp_path / "out", force=False)
    save_adapter(FakeAdapter("new"), tmp_path / "out")
    assert files(tmp_path) == WHOLE
