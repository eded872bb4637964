"""An interrupted export, continued, gives the same files byte for byte; everything else about unfinished work."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from pocketlora_export.bundle import journal as journaling
from pocketlora_export.bundle.journal import read_journal
from pocketlora_export.bundle.partial import resumable_folder
from pocketlora_export.bundle.verify import verify_bundle
from pocketlora_export.cli.main import cli
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.lower.model import lower_model
from pocketlora_export.lower.spec import ProgramSpec
from pocketlora_export.quantize import stream
from pocketlora_export.recipes import build as building
from pocketlora_export.recipes.build import Built, build_bundle
from pocketlora_export.recipes.progress import Silent
from pocketlora_export.recipes.recipe import ModelQuant, Recipe
from tests.support.bundles import Bundled
from tests.support.models import TinyModel, write_model

SMALL = Recipe(max_seq_len=64, train_seq_len=32, max_rank=4)
SETTLE = 8192


class Notes(Silent):
    """A listener that remembers what the user was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Remember."""
        self.notes.append(message)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, float32."""
    folder = tmp_path_factory.mktemp("source") / "model"
    write_model(folder, TinyModel(layers=1))
    return folder


@pytest.fixture
def source(pristine: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(pristine, tmp_path / "model"))


Lower = Callable[..., list[ProgramSpec]]


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lower:
    """`lower_model` that computes the first time and copies its files from then on: lowering is not resumed."""
    place = tmp_path_factory.mktemp("lowered")
    made: list[ProgramSpec] = []

    def lower(decoder: Any, sites: Any, limits: Any, backend: Any, folder: Path, report: Any) -> list[ProgramSpec]:
        if not made:
            made.extend(lower_model(decoder, sites, limits, backend, place, report))
        shutil.copytree(place, folder, dirs_exist_ok=True)
        return made

    return lower


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch, lowered: Lower) -> None:
    monkeypatch.setattr(building, "lower_model", lowered)
    monkeypatch.setattr(stream, "PIECE_ELEMENTS", 1 << 12)
    monkeypatch.setattr(journaling, "SETTLE_BYTES", SETTLE)


@pytest.fixture(scope="module")
def whole(pristine: Path, lowered: Lower, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an export that nothing interrupted, with the sizes of pieces and extents as they ship."""
    output = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "lower_model", lowered)
        build_bundle(str(pristine), output, SMALL)
    verify_bundle(output)
    return contents(output)


class Stop:
    """Ends an export behind the nth line of its journal, as Ctrl-C would."""

    def __init__(self, lines: int, tear: bool = False) -> None:
        self._left, self._tear, self._append = lines, tear, journaling._append

    def __call__(self, path: Path, line: dict[str, Any]) -> None:
        """Stands in for the function that appends a line."""
        self._append(path, line)
        self._left -= "size" in line
        if self._left <= 0:
            if self._tear:
                os.truncate(path, path.stat().st_size - 10)
            raise KeyboardInterrupt


def _interrupt(
    source: Path, output: Path, lines: int, tear: bool = False, recipe: Recipe = SMALL, force: bool = False
) -> str:
    """An export that ends early; what the user is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journaling, "_append", Stop(lines, tear))
        with pytest.raises(KeyboardInterrupt) as caught:
            build_bundle(str(source), output, recipe, force, threads=1)
    assert output.exists() == force
    return str(caught.value)


def _build(source: Path, output: Path, recipe: Recipe = SMALL, **options: Any) -> tuple[Built, list[str]]:
    """An export that ends well; what the user was told."""
    listener = Notes()
    built = build_bundle(str(source), output, recipe, progress=listener, **options)
    return built, listener.notes


def _boundaries(whole: dict[str, bytes]) -> int:
    return len(whole["base.ptd"]) // SETTLE


def test_continued_from_every_line_of_the_journal(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    count = _boundaries(whole)
    assert count > 8
    kept = []
    for lines in range(1, count):
        output = tmp_path / str(lines)
        assert f"are kept in {tmp_path / f'.{lines}.partial'}" in _interrupt(pristine, output, lines)
        built, notes = _build(pristine, output)
        assert contents(output) == whole
        assert any(note.startswith("continuing: ") for note in notes)
        kept.append(built.resumed_bytes)
    assert kept == sorted(set(kept))
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_torn_line(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    _interrupt(pristine, tmp_path / "out", 5, tear=True)
    assert _build(pristine, tmp_path / "out")[0].resumed_bytes > 0
    assert contents(tmp_path / "out") == whole


def test_interrupted_again_and_again(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    for _ in range(4):
        _interrupt(pristine, tmp_path / "out", 2)
    built, _ = _build(pristine, tmp_path / "out")
    assert built.resumed_bytes >= 8 * SETTLE
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_a_failure_while_lowering_keeps_the_whole_base(
    pristine: Path, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, failure: type
) -> None:
    def fail(*_args: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(building, "lower_model", fail)
        with pytest.raises(failure):
            build_bundle(str(pristine), tmp_path / "out", SMALL)
    # What an interrupted lowering has left is made anew.
    (tmp_path / ".out.partial" / "folder" / "programs").mkdir()
    (tmp_path / ".out.partial" / "folder" / "programs" / "half").write_bytes(b"x")
    built, _ = _build(pristine, tmp_path / "out")
    assert built.resumed_bytes == len(whole["base.ptd"])
    assert contents(tmp_path / "out") == whole


def test_an_interrupt_before_anything_is_durable_leaves_nothing(pristine: Path, tmp_path: Path) -> None:
    assert _interrupt(pristine, tmp_path / "out", 0) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [0.0, 0.3, 0.99])
def test_damage_in_what_is_kept_is_made_again(
    pristine: Path, tmp_path: Path, whole: dict[str, bytes], at: float
) -> None:
    _interrupt(pristine, tmp_path / "out", 8)
    path = tmp_path / ".out.partial" / "folder" / "base.ptd"
    journal = read_journal(tmp_path / ".out.partial" / "journal")
    assert journal is not None
    data = bytearray(path.read_bytes())
    data[int(at * journal.size)] ^= 4
    path.write_bytes(data)
    built, notes = _build(pristine, tmp_path / "out")
    assert built.resumed_bytes <= at * journal.size
    assert f"base.ptd is damaged behind byte {built.resumed_bytes}" in notes[0]
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("data", [b"", b"\xff" * 1000, b'{"fingerprint": 3}\n'])
def test_a_damaged_journal_starts_over(pristine: Path, tmp_path: Path, whole: dict[str, bytes], data: bytes) -> None:
    _interrupt(pristine, tmp_path / "out", 8)
    (tmp_path / ".out.partial" / "journal").write_bytes(data)
    built, notes = _build(pristine, tmp_path / "out")
    assert built.resumed_bytes == 0
    assert notes == ["earlier work is dropped: its journal is damaged"]
    assert contents(tmp_path / "out") == whole


def test_another_recipe_starts_over(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    _interrupt(pristine, tmp_path / "out", 8, recipe=SMALL.model_copy(update={"max_rank": 7}))
    built, notes = _build(pristine, tmp_path / "out")
    assert built.resumed_bytes == 0
    assert notes == ["earlier work is dropped: this is another job (recipe: max_rank)"]
    assert contents(tmp_path / "out") == whole


def _change_a_weight(source: Path) -> None:
    path = source / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][5] += 1
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_changed_source_starts_over(source: Path, tmp_path: Path) -> None:
    _interrupt(source, tmp_path / "out", 8)
    _change_a_weight(source)
    built, notes = _build(source, tmp_path / "out")
    assert built.resumed_bytes == 0
    assert notes == [
        f"earlier work is dropped: this is another job (weights: {source.resolve() / 'model.safetensors'})"
    ]
    fresh, _ = _build(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(fresh.path)


def test_a_changed_config_starts_over(source: Path, tmp_path: Path) -> None:
    _interrupt(source, tmp_path / "out", 8)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    _, notes = _build(source, tmp_path / "out")
    assert notes == ["earlier work is dropped: this is another job (config.json: rms_norm_eps)"]


def test_other_tools_start_over(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt(pristine, tmp_path / "out", 8)
    path = tmp_path / ".out.partial" / "journal"
    first, rest = path.read_bytes().split(b"\n", 1)
    job = json.loads(first)
    job["fingerprint"]["tools"]["torch"] = "1.0"
    path.write_bytes(json.dumps(job).encode() + b"\n" + rest)
    assert _build(pristine, tmp_path / "out")[1] == ["earlier work is dropped: this is another job (tools: torch)"]


def test_no_resume(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    _interrupt(pristine, tmp_path / "out", 8)
    built, notes = _build(pristine, tmp_path / "out", resume=False)
    assert built.resumed_bytes == 0
    assert notes == ["earlier work is dropped: as asked for"]
    assert contents(tmp_path / "out") == whole
    assert _build(pristine, tmp_path / "other", resume=False)[1] == []


def test_the_command_tells_what_it_kept(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    output = tmp_path / "out"
    options = ["--max-seq-len", "64", "--train-seq-len", "32", "--max-rank", "4", "--no-self-test", "--json"]
    command = ["bundle", "-m", str(pristine), "-o", str(output), *options]
    for more, kept, told in (([], True, "continuing: "), (["--no-resume"], False, "dropped: as asked for")):
        _interrupt(pristine, output, 8)
        result = CliRunner().invoke(cli, [*command, *more])
        assert result.exit_code == 0, result.output
        assert told in result.stderr
        assert (json.loads(result.stdout.splitlines()[-1])["resumed_bytes"] > 0) == kept
        assert contents(output) == whole
        shutil.rmtree(output)


def test_bad_weights_keep_nothing(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(PocketLoraError, match=r"model\.norm\.weight: 1 values are NaN"):
        build_bundle(str(source), tmp_path / "out", SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_second_export_at_the_same_time_is_refused(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    class Second(Silent):
        def begin(self, what: str, total: int) -> None:
            if what == "lowering":
                with pytest.raises(PocketLoraError, match=f"another export is writing it.*{os.getpid()}") as caught:
                    build_bundle(str(pristine), tmp_path / "out", SMALL)
                assert caught.value.status is Status.INVALID_STATE
                # Elsewhere there is room for it.
                build_bundle(str(pristine), tmp_path / "other", SMALL)

    build_bundle(str(pristine), tmp_path / "out", SMALL, progress=Second())
    assert contents(tmp_path / "out") == contents(tmp_path / "other") == whole


def test_an_older_bundle_stays_until_the_new_one_is_there(
    pristine: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    output = tmp_path / "out"
    _build(pristine, output, SMALL.model_copy(update={"max_rank": 2}))
    older = contents(output)
    _interrupt(pristine, output, 5, force=True)
    assert contents(output) == older
    with pytest.raises(PocketLoraError, match="--force replaces it"):
        build_bundle(str(pristine), output, SMALL)
    assert _build(pristine, output, force=True)[0].resumed_bytes > 0
    assert contents(output) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_what_was_durable(
    pristine: Path, small_disk: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "require_space", lambda *_: None)
    _interrupt(pristine, small_disk / "out", 3)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "other").write_bytes(bytes(free - 5 * SETTLE))
    with pytest.raises(PocketLoraError, match=r"No space left on device\n.* are kept in ") as caught:
        build_bundle(str(pristine), small_disk / "out", SMALL)
    assert caught.value.status is Status.DISK_FULL
    (small_disk / "other").unlink()
    assert _build(pristine, small_disk / "out")[0].resumed_bytes > 0
    assert contents(small_disk / "out") == whole


def _slowly(source: Path, output: Path) -> None:
    """A process of its own: an export whose journal takes its time, and that never gets behind the base."""
    append = journaling._append

    def slow(path: Path, line: dict[str, Any]) -> None:
        time.sleep(0.02)
        append(path, line)
        time.sleep(0.02)

    patch = pytest.MonkeyPatch()
    patch.setattr(journaling, "_append", slow)
    patch.setattr(building, "lower_model", lambda *_: time.sleep(60))
    build_bundle(str(source), output, SMALL, threads=1)


def test_killed_at_random_moments(pristine: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    chance, output, kept = random.Random(7), tmp_path / "out", [0]

    def durable() -> int:
        journal = read_journal(tmp_path / ".out.partial" / "journal")
        return journal.size if journal else 0

    for _ in range(8):
        process = multiprocessing.get_context("fork").Process(target=_slowly, args=(pristine, output))
        process.start()
        # Half of them only once there is more than before, so that there is progress on a slow machine too.
        more, until = chance.random() < 0.5, time.monotonic() + 20
        while more and durable() <= kept[-1] < len(whole["base.ptd"]) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not output.exists()
        kept.append(durable())
    assert kept == sorted(kept)
    built, _ = _build(pristine, output)
    assert built.resumed_bytes == kept[-1] > 0
    assert contents(output) == whole


_DRIVER = f"""
import time
from pocketlora_export.bundle import journal
from pocketlora_export.quantize import stream
from pocketlora_export.cli.main import main
append = journal._append
def slow(path, line):
    append(path, line)
    time.sleep(0.05)
journal._append, journal.SETTLE_BYTES, stream.PIECE_ELEMENTS = slow, {SETTLE}, 1 << 12
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command(tiny_bundle: Bundled, tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted and continued in real processes; equal to a bundle that the plain command made in one go."""
    recipe, output = tmp_path / "recipe.yaml", tmp_path / "out"
    shutil.copyfile(tiny_bundle.bundle.parent / "recipe.yaml", recipe)
    options = ["bundle", "-m", str(tiny_bundle.source), "-o", str(output), "--recipe", str(recipe), "--json"]
    command = [sys.executable, "-c", _DRIVER, *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True)
    place = tmp_path / ".out.partial"
    while process.poll() is None:
        journal = read_journal(place / "journal")
        if journal is not None and len(journal.extents) >= 4:
            break
        time.sleep(0.01)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert json.loads(stdout.splitlines()[-1])["name"] == "CANCELLED"
    assert "interrupted: " in stderr
    assert "of out/base.ptd are kept in " in stderr.replace("\n", " ")
    assert "Traceback" not in stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.partial", "recipe.yaml"]
    if number == signal.SIGTERM:
        return  # what follows is the same
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "continuing: " in done.stderr
    assert json.loads(done.stdout)["resumed_bytes"] >= 4 * SETTLE
    assert contents(output) == contents(tiny_bundle.bundle)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "recipe.yaml"]


def _stored_as(folder: Path, dtype: torch.dtype, shards: int, values: dict[str, torch.Tensor], model: Path) -> Path:
    """A model folder with the same values in another dtype and number of files."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    tensors = {name: value.to(dtype) for name, value in values.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = [sorted(tensors)[number::shards] for number in range(shards)]
    files = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    for file, part in zip(files, names, strict=True):
        save_file({name: tensors[name] for name in part}, folder / file)
    mapping = {name: file for file, part in zip(files, names, strict=True) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    return folder


@pytest.mark.parametrize("scheme", ["nf4", "int4"])
def test_the_same_values_give_the_same_base_however_they_are_stored(
    pristine: Path, tmp_path: Path, scheme: Literal["nf4", "int4"]
) -> None:
    tensors = load_file(pristine / "model.safetensors")
    # Eight bits of mantissa and no subnormal numbers: exact in all three.
    values = {name: value.bfloat16().float() * (value.abs() > 2.0**-14) for name, value in tensors.items()}
    recipe = SMALL.model_copy(update={"quant": ModelQuant(scheme=scheme)})
    bases = set()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert all(torch.equal(value.to(dtype).float(), value) for value in values.values())
        for shards in (1, 3):
            folder = _stored_as(tmp_path / f"{dtype}-{shards}", dtype, shards, values, pristine)
            job = building.prepare(str(folder), recipe)
            assert job.source.dtype == str(dtype).removeprefix("torch.")
            with resumable_folder(tmp_path / f"{dtype}-{shards}-out", "marker", "base.ptd", {}) as work:
                building._write_base(job, work, 2, Silent())
                bases.add((work.folder / "base.ptd").read_bytes())
    assert len(bases) == 1
