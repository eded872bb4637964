"""`data prepare` from the command line, and that `train` and `eval` take what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, write_rows
from tests.cli.test_no_torch import run_guarded
from tests.support.bundles import Bundled
from tests.support.tolerance import EPS

QUESTIONS = [{"question": f"{n}", "answer": "ok" if n % 2 else "no"} for n in range(40)]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("questions") / "questions.jsonl", *QUESTIONS, {"title": "no row"})


def prepared(call: Cli, *arguments: object) -> dict[str, Any]:
    result = call("data", "prepare", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_statistics_as_json_and_for_people(call: Cli, questions: Path, tmp_path: Path) -> None:
    found = prepared(call, questions, "-o", tmp_path / "a", "--valid-share", 0.3)
    assert found["output"] == str(tmp_path / "a")
    assert found["rows"] == {"read": 41, "bad": 1, "removed": {}, "written": 40}
    stats = json.loads((tmp_path / "a" / "stats.json").read_text("utf-8"))
    assert found.keys() - stats.keys() == {"output", "seconds", "rows_per_second"}
    result = call("data", "prepare", questions, "-o", tmp_path / "b", "--valid-share", 0.3, "--test-share", 0)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "41 rows in" in text
    assert f"1 cannot be used: {tmp_path / 'b' / 'rejected.jsonl'}" in text
    parts = json.loads((tmp_path / "b" / "stats.json").read_text("utf-8"))["splits"]
    assert f"{parts['valid']['rows']} valid: {tmp_path / 'b' / 'valid.jsonl'}" in text
    assert "no row fell into" not in result.stderr


def test_columns_are_mapped(call: Cli, tmp_path: Path) -> None:
    table = tmp_path / "faq.csv"
    table.write_text("Frage;Antwort\nWo?;Da.\n", "utf-8")
    arguments = ("-o", tmp_path / "out", "--map", "question=frage,answer=antwort", "--template", "none")
    prepared(call, table, *arguments, "--test-share", 0, "--valid-share", 0)
    row = json.loads((tmp_path / "out" / "train.jsonl").read_text("utf-8"))
    assert row == {"prompt": "Wo?\n", "completion": "Da."}


def test_phi_is_the_template_of_phi_2(call: Cli, questions: Path, tmp_path: Path) -> None:
    found = prepared(
        call, questions, "-o", tmp_path / "out", "--template", "phi", "--valid-share", 0, "--test-share", 0
    )
    assert found["options"]["template"] == "phi-2"
    first = (tmp_path / "out" / "train.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(first) == {"prompt": "Instruct: 0\nOutput:", "completion": " no"}


def test_it_imports_no_torch(questions: Path, tiny_bundle: Bundled, tmp_path: Path) -> None:
    arguments = ("data", "prepare", questions, "-o", tmp_path / "out", "--bundle", tiny_bundle.bundle, "--pack", 48)
    done = run_guarded(*arguments, "--near-duplicates", "remove", "--workers", 2)
    assert done.returncode == 0, done.stderr


def test_a_part_without_rows_is_told(call: Cli, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", {"text": "only one"})
    result = call("data", "prepare", data, "-o", tmp_path / "out", "--valid-share", 0.001, "--test-share", 0.001)
    assert "no row fell into valid, test: there is no such file" in result.stderr
    assert not (tmp_path / "out" / "valid.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--map", "title=x"), 2, "expected KEY=NAME with KEY one of text, question"),
        (("--valid-share", 0.6, "--test-share", 0.6), 2, "expected less than 1 together, found 1.2"),
        (("--pack", 64), 2, "--pack: expected a tokenizer"),
        (("--max-bad-share", 0.01), 3, "1 of 41 rows cannot be used"),
        (("--template", "chatty", "--seed", -1), 2, "Invalid value for '--seed'"),
        (("--kind", "text"), 3, "questions.jsonl:1: expected 'text', found 'question', 'answer'"),
        (("--tokenizer", "absent"), 3, "expected a folder with tokenizer.json"),
        (("--bundle", "absent"), 4, "absent: no such bundle"),
        (("--bundle", "a", "--tokenizer", "b"), 2, "expected one of them, found both"),
    ],
)
def test_bad_input(
    call: Cli, questions: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, words: str
) -> None:
    result = call("data", "prepare", questions, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_rows_beyond_the_bundle_are_removed_and_packing_beyond_it_is_refused(
    call: Cli, tiny_bundle: Bundled, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "a.jsonl", {"text": "x" * 40}, {"text": "x" * 60})
    bundle = tiny_bundle.bundle
    found = prepared(call, data, "-o", tmp_path / "out", "--bundle", bundle, "--valid-share", 0, "--test-share", 0)
    assert found["rows"]["removed"] == {"too long": 1}
    assert found["tokens"]["max"] <= tiny_bundle.tiny.train_len
    result = call("data", "prepare", data, "-o", tmp_path / "out", "--bundle", bundle, "--pack", 49, "--max-tokens", 50)
    assert result.exit_code == 2
    assert "--pack 49: the bundle was exported for rows of at most 48 tokens" in result.stderr
    assert "--max-tokens 50: the bundle was exported for rows of at most 48 tokens" in result.stderr


def test_a_template_in_pieces_is_warned_of(call: Cli, tiny_bundle: Bundled, questions: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", tiny_bundle.bundle, "--template", "chatml", "--max-tokens", 48)
    result = call("data", "prepare", questions, "-o", tmp_path / "out", *arguments)
    assert "the tokenizer has no token <|im_start|>, <|im_end|>" in result.stderr


@pytest.mark.parametrize("template", ["model", "none"])
def test_text_tokens_and_packed_rows_train_and_evaluate_alike(
    call: Cli, tiny_bundle: Bundled, questions: Path, tmp_path: Path, template: str
) -> None:
    losses, counts = {}, {}
    for name, more in (("text", ()), ("tokens", ("--tokenize",)), ("packed", ("--pack", 48))):
        common = ("--template", template, "--bundle", tiny_bundle.bundle, "--valid-share", 0, "--test-share", 0)
        prepared(call, questions, "-o", tmp_path / name, *common, *more)
        data = tmp_path / name / "train.jsonl"
        result = call("eval", tiny_bundle.bundle, "--data", data, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        losses[name], counts[name] = found["loss"], found["tokens"]
    # The same rows: the order of a float32 sum is all that may differ.
    assert counts["text"] == counts["tokens"] == counts["packed"]
    assert losses["tokens"] == losses["text"]
    assert losses["packed"] == pytest.approx(losses["text"], rel=counts["text"] * EPS)
    lines = (tmp_path / "packed" / "train.jsonl").read_text("utf-8").splitlines()
    assert len(lines) < len(QUESTIONS) / 1.5
    arguments = ("--data", tmp_path / "packed" / "train.jsonl", "--output", tmp_path / "adapter", "--iters", 3)
    result = call("train", tiny_bundle.bundle, *arguments, "--rank", 2, "--batch-size", 1)
    assert result.exit_code == 0, result.output


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text("".join(f'{{"text": "{n} {"word " * 200}"}}\n' for n in range(60_000)), "utf-8")
    command = [sys.executable, "-m", "pocketlora_export", "data", "prepare", data, "-o", tmp_path / "out"]
    process = subprocess.Popen(
        [*map(str, command), "--workers", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    work = tmp_path / f".out.partial-{process.pid}"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        spool = work / ".work" / "spool"
        if spool.exists() and spool.stat().st_size:
            break
        time.sleep(0.01)
    # As a terminal does: to the command and its workers.
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.strip() == "interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
