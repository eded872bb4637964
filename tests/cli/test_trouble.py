"""Trouble while training: Ctrl-C and a full disk leave nothing under the final name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.bundles import Bundled


@pytest.mark.parametrize("existing", [False, True])
def test_ctrl_c_saves_nothing_and_says_so(
    tiny_bundle: Bundled, text_rows: Path, tmp_path: Path, existing: bool
) -> None:
    output = tmp_path / "out" / "adapter"
    if existing:
        output.mkdir(parents=True)
    command = [
        sys.executable, "-m", "pocketlora_export", "train", str(tiny_bundle.bundle), "--data", str(text_rows),
        "--output", str(output), "--iters", "10000000", "--threads", "1", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    events = [json.loads(process.stdout.readline())["event"] for _ in range(2)]
    assert events == ["plan", "progress"]
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    last = json.loads(stdout.splitlines()[-1])
    assert (last["event"], last["name"]) == ("error", "CANCELLED")
    assert "interrupted: after step " in stderr
    assert ("is as it was before" if existing else "nothing was saved") in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.rglob("*")) == ([output.parent, output] if existing else [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 32 kB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_a_clear_error(call: Cli, tiny_bundle: Bundled, text_rows: Path, small_disk: Path) -> None:
    output = small_disk / "adapter"
    arguments = ("--data", text_rows, "--output", output, "--iters", 1, "--rank", 8, "--json")
    result = call("train", tiny_bundle.bundle, *arguments)
    assert result.exit_code == 7, result.output
    event = json.loads(result.stdout.splitlines()[-1])
    assert (event["event"], event["name"]) == ("error", "DISK_FULL")
    assert str(small_disk) in event["message"]
    assert list(small_disk.iterdir()) == []
