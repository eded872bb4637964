"""`pocketlora_run`, the runtime from a shell: its output, its exit codes, and that it leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.packing import PackLimits, steps
from pocketlora_export.errors import Status
from pocketlora_export.runtime import Engine, Trainer, TrainerConfig
from tests.support.bundles import Bundled
from tests.support.oracle import Rows, random_rows

LENGTHS = (23, 40, 8, 31, 12)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def program(repository: Path) -> Path:
    return repository / "build" / "host" / "tools" / "pocketlora_run"


@pytest.fixture(scope="module")
def run(program: Path) -> Run:
    """Run the program on one thread."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        threads = ["--threads", "1"] if len(arguments) > 1 else []
        command = [str(program), *map(str, arguments), *threads]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="module")
def rows(tiny_bundle: Bundled) -> list[Rows]:
    return [random_rows((length,), tiny_bundle.tiny.vocab, length) for length in LENGTHS]


@pytest.fixture(scope="module")
def data(rows: list[Rows], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "rows.jsonl"
    lines = [{"token_ids": row.tokens.tolist(), "labels": row.labels.tolist()} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def adapters(run: Run, tiny_bundle: Bundled, data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters that write differently."""
    folders = [tmp_path_factory.mktemp("adapters") / str(seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        options = ("--iters", 20, "--learning-rate", 2e-2 * (seed + 1), "--rank", 4, "--seed", seed)
        done = run("train", tiny_bundle.bundle, "--data", data, "-o", folder, *options)
        assert done.returncode == 0, done.stderr
    return folders


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON lines of stdout."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_fails(done: subprocess.CompletedProcess[str], status: Status, *texts: str) -> None:
    """The last line is an error event; stderr and the exit code say the same."""
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["code"], event["name"]) == ("error", status, status.name), event
    assert done.returncode == status.exit_code
    for text in texts:
        assert text in event["message"]
        assert text in done.stderr


def test_info(run: Run, tiny_bundle: Bundled) -> None:
    (info,) = lines(run("info", tiny_bundle.bundle, "--verify"))
    assert info["max_rank"] == tiny_bundle.tiny.max_rank
    assert info["target_modules"] == list(tiny_bundle.tiny.target_modules)
    assert info["memory"]["base_private_dirty"] == 0


def test_trains_as_python_does(run: Run, tiny_bundle: Bundled, rows: list[Rows], data: Path, tmp_path: Path) -> None:
    """The same seed gives the same order of rows, the same losses and the same adapter, bit for bit."""
    options = {"--iters": 4, "--batch-size": 2, "--grad-accumulation-steps": 2, "--rank": 3, "--alpha": 5, "--seed": 11}
    pairs = [part for pair in options.items() for part in pair]
    events = lines(run("train", tiny_bundle.bundle, "--data", data, "-o", tmp_path / "a", *pairs))
    losses = [event["loss"] for event in events if event["event"] == "progress"]
    assert events[-1]["event"] == "complete"
    assert events[-1]["path"] == str(tmp_path / "a")

    with Engine(tiny_bundle.bundle, num_threads=1) as engine:
        limits = PackLimits(engine.facts.train_t_max, engine.facts.max_segments)
        encoded = [Encoded(row.tokens, row.labels) for row in rows]
        batches = steps(encoded, batch_size=2, accumulation=2, seed=11, limits=limits)
        with Trainer(engine, TrainerConfig(rank=3, alpha=5.0, seed=11)) as trainer:
            assert losses == [trainer.step(step).loss for step in islice(batches, 4)]
            with trainer.adapter() as adapter:
                adapter.save(tmp_path / "b")
    found, expected = (load_file(tmp_path / name / "adapter_model.safetensors") for name in "ab")
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


def test_goes_on_from_an_adapter(
    run: Run, tiny_bundle: Bundled, data: Path, adapters: list[Path], tmp_path: Path
) -> None:
    arguments = ("train", tiny_bundle.bundle, "--data", data, "-o", tmp_path / "c", "--iters", 1, "--batch-size", 5)
    (_, fresh, _), (_, resumed, _) = (
        lines(run(*arguments)),
        lines(run(*arguments, "--force", "--init-adapter", adapters[0])),
    )
    assert resumed["loss"] < fresh["loss"]
    assert (tmp_path / "c" / "adapter_config.json").read_text() == (adapters[0] / "adapter_config.json").read_text()


def test_swaps_in_a_live_session(run: Run, tiny_bundle: Bundled, adapters: list[Path]) -> None:
    """Every phase writes what a process of its own with that adapter writes."""
    prompt = ("--prompt-ids", "5,6,7,8", "--max-new-tokens", 12)
    names = ["--adapter", adapters[0], "--adapter", adapters[1]]
    phases = lines(run("swap", tiny_bundle.bundle, *names, *prompt))
    assert [phase["adapter"] for phase in phases] == ["", str(adapters[0]), str(adapters[1]), ""]
    alone = [lines(run("generate", tiny_bundle.bundle, *prompt, *names[at : at + 2])) for at in (4, 0, 2, 4)]
    assert [phase["token_ids"] for phase in phases] == [one["token_ids"] for (one,) in alone]
    assert len({tuple(phase["token_ids"]) for phase in phases}) == 3


def test_interrupt_leaves_nothing(program: Path, tiny_bundle: Bundled, data: Path, tmp_path: Path) -> None:
    arguments = ("train", tiny_bundle.bundle, "--data", data, "-o", tmp_path / "a", "--iters", 10**9)
    command = [str(program), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        plan, progress = (json.loads(process.stdout.readline()) for _ in range(2))
        assert (plan["event"], progress["step"]) == ("plan", 1)
        process.send_signal(signal.SIGINT)
        last = process.stdout.read().splitlines()[-1]
    assert process.returncode == 130
    assert json.loads(last)["name"] == "CANCELLED"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "expected a command"),
        (("tain",), "unknown command 'tain'; expected one of info, train, eval, generate, swap"),
        (("train", "BUNDLE"), "--data is required"),
        (("train", "BUNDLE", "--data", "DATA", "-o", "OUT", "--iters", "0"), "--iters: expected a number above 0"),
        (("train", "BUNDLE", "--data", "DATA", "-o", "OUT", "--optimizer", "adagrad"), "adagrad"),
        (("train", "BUNDLE", "--data", "DATA", "-o", "DATA"), "expected a folder, found a file"),
        (("train", "BUNDLE", "--data", "DATA", "-o", "ADAPTER"), "already holds an adapter"),
        (("generate", "BUNDLE", "--prompt-ids", "1,x"), "1,x"),
        (("generate", "BUNDLE", "--prompt-ids", "1,99999"), "found 99999"),
        (("generate", "BUNDLE", "--prompt-ids", "1", "--top-p", "0"), "--top-p: expected a number above 0"),
    ],
)
def test_wrong_usage(
    arguments: tuple[str, ...],
    text: str,
    run: Run,
    tiny_bundle: Bundled,
    data: Path,
    adapters: list[Path],
    tmp_path: Path,
) -> None:
    names = {"BUNDLE": tiny_bundle.bundle, "DATA": data, "ADAPTER": adapters[0], "OUT": tmp_path / "out"}
    assert_fails(run(*(names.get(argument, argument) for argument in arguments)), Status.INVALID_ARGUMENT, text)
    assert not (tmp_path / "out").exists()


def test_bad_rows_are_named(run: Run, tiny_bundle: Bundled, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"token_ids": [1, 2]}\n{"token_ids": [1]}\n\nnot json\n')
    arguments = ("eval", tiny_bundle.bundle, "--data")
    assert_fails(run(*arguments, path), Status.INPUT_MALFORMED, f"{path}:2: ", f"{path}:4: not JSON")
    assert_fails(run(*arguments, tmp_path / "absent"), Status.INPUT_MISSING, "absent")
    path.write_text(json.dumps({"token_ids": [5] * (tiny_bundle.tiny.train_len + 1)}))
    assert_fails(run(*arguments, path), Status.SEQUENCE_TOO_LONG, f"{path}:1: ")


def test_rank_and_modules_are_checked(run: Run, tiny_bundle: Bundled, data: Path, tmp_path: Path) -> None:
    arguments = ("train", tiny_bundle.bundle, "--data", data, "-o", tmp_path / "out")
    assert_fails(run(*arguments, "--rank", 99), Status.RANK_TOO_LARGE, "99", str(tiny_bundle.tiny.max_rank))
    modules = run(*arguments, "--target-modules", "q_proj,c_attn")
    assert_fails(modules, Status.UNKNOWN_TARGET_MODULE, "c_attn", *tiny_bundle.tiny.target_modules)
    assert list(tmp_path.iterdir()) == []


def test_the_output_may_be_a_link_to_a_folder(run: Run, tiny_bundle: Bundled, data: Path, tmp_path: Path) -> None:
    """A link is followed; one to nothing is refused before the training, which writes an event for every step."""
    link = tmp_path / "link"
    link.symlink_to("real")
    arguments = ("train", tiny_bundle.bundle, "--data", data, "-o", link, "--iters", 1)
    assert_fails(run(*arguments), Status.INVALID_ARGUMENT, str(link), "link to nothing")
    (tmp_path / "real").mkdir()
    assert lines(run(*arguments))
    assert link.is_symlink()
    assert (tmp_path / "real" / "adapter_model.safetensors").is_file()


def test_damaged_adapters_and_bundles(run: Run, tiny_bundle: Bundled, adapters: list[Path], tmp_path: Path) -> None:
    prompt = ("--prompt-ids", "5,6")
    generate = ("generate", tiny_bundle.bundle, *prompt, "--adapter")
    assert_fails(run(*generate, tmp_path / "absent"), Status.ADAPTER_MISSING_FILE, "absent")
    folder = tmp_path / "adapter"
    shutil.copytree(adapters[0], folder)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert_fails(run(*generate, folder), Status.ADAPTER_CORRUPT, str(weights))
    assert_fails(run("generate", tmp_path / "none", *prompt), Status.BUNDLE_MISSING_FILE, "none")


def test_a_memory_limit_decides_and_is_honoured(run: Run, tiny_bundle: Bundled, tmp_path: Path) -> None:
    """Less than the default setting takes: another one is chosen, told, and kept to; far less is refused by numbers."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"token_ids": list(range(first, first + 12))}) + "\n" for first in range(1, 6)))
    arguments = ("train", tiny_bundle.bundle, "--data", data, "--iters", 2, "--rank", 4, "--batch-size", 5)
    free, *_, end = lines(run(*arguments, "-o", tmp_path / "free"))
    assert (free["event"], free["activations"], free["spilled"], free["memory_limit"]) == ("plan", "fp32", 0, 0)
    assert end["memory"]["peak"] <= free["planned"]
    assert {"seconds_per_step", "major_faults"} <= end.keys()
    limit = free["planned"] - 1
    options = ("--memory-limit", limit, "--scratch-dir", tmp_path, "--weights", "stream")
    plan, *steps, end = lines(run(*arguments, "-o", tmp_path / "limited", *options))
    assert plan["planned"] <= limit
    assert plan["streams_weights"]
    assert (plan["activations"], plan["max_rows"]) != (free["activations"], free["max_rows"])
    assert end["memory"]["peak"] <= limit
    assert len(steps) == 2
    refused = run(*arguments, "-o", tmp_path / "no", "--memory-limit", "0.1MB")
    assert_fails(refused, Status.OUT_OF_MEMORY, "memory limit of 0.1 MB", "arena", "optimizer", "would do")
    assert not (tmp_path / "no").exists()
    assert_fails(run(*arguments, "-o", tmp_path / "no", "--memory-limit", "much"), Status.INVALID_ARGUMENT, "800MB")


def test_an_interrupt_ends_the_step_it_comes_in(program: Path, shipped_bundle: Path, tmp_path: Path) -> None:
    """One step that takes far longer than it takes to stop it."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"token_ids": list(range(1, 200))}) + "\n")
    command = [program, "train", shipped_bundle, "--data", path, "-o", tmp_path / "a", "--iters", "1", "--threads", "1"]
    command += ["--batch-size", "4000"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "plan"
        process.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    assert [event["event"] for event in rest] == ["error"]  # no step was finished
    assert not (tmp_path / "a").exists()
