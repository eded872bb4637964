"""Values of options that no bundle could take: each names its option, and all are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME
from pocketlora_export.cli.main import cli
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import refused
from tests.support.bundles import Bundled

# What the interpreter makes of the byte 0xff on the command line.
BYTE = "\udcff"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e39"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("train", name) for name in ("--learning-rate", "--alpha", "--weight-decay", "--dropout")),
        *((name, option) for name in ("generate", "demo") for option in ("--temperature", "--top-p")),
        ("demo", "--learning-rate"),
    ],
)
def test_numbers_are_finite(call: Cli, tmp_path: Path, command: str, option: str, value: str) -> None:
    output = tmp_path / "out"
    arguments = {
        "train": ("absent", "--data", "absent", "-o", output),
        "generate": ("absent", "--prompt", "x"),
        "demo": ("-o", output),
    }
    message = refused(call, 2, command, *arguments[command], option, value)
    assert option in message
    assert f"expected a finite number, found {value}" in message
    assert not output.exists()


def test_all_bad_values_are_told_at_once(call: Cli) -> None:
    bad = ("--learning-rate", "nan", "--alpha", "inf", "--dropout", "nan", "--rank", 0, "--iters", "many")
    message = refused(call, 2, "train", "absent", *bad)
    names = ("--learning-rate", "--alpha", "--dropout", "--rank", "--iters", "--data", "--output")
    assert all(name in message for name in names), message
    assert len(message.splitlines()) == len(names)


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--prompt", ("--prompt", BYTE)),
        ("--system", ("--prompt", "x", "--chat", "--system", BYTE)),
        ("--backend", ("--prompt", "x", "--backend", BYTE)),
    ],
)
def test_texts_are_utf8(call: Cli, tiny_bundle: Bundled, option: str, arguments: tuple[str, ...]) -> None:
    message = refused(call, 2, "generate", tiny_bundle.bundle, *arguments)
    assert option in message
    assert "expected UTF-8 text" in message


def test_standard_input_is_utf8(tiny_bundle: Bundled) -> None:
    arguments = ["generate", str(tiny_bundle.bundle), "--prompt", "-"]
    result = CliRunner().invoke(cli, arguments, input=b"ab\xff\xfe")
    assert result.exit_code == 2
    assert "--prompt -: expected UTF-8 text on stdin, found 0xff at byte 3" in result.stderr


def test_a_path_that_is_not_utf8_is_reported_as_json(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    data = f"{tmp_path}/{BYTE}"
    result = call("train", tiny_bundle.bundle, "--data", data, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 3
    assert "\\udcff: expected a JSONL file" in result.stdout


def test_what_is_in_the_place_of_a_file_or_folder_is_named(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, trained: Path, tmp_path: Path
) -> None:
    bundle, output, weights = tiny_bundle.bundle, tmp_path / "out", trained / WEIGHTS_NAME
    assert "not a regular file" in refused(call, 3, "eval", bundle, "--data", "/dev/null")
    assert f"{weights}: a file, expected an adapter folder" in {
        refused(call, 5, "eval", bundle, "--data", text_rows, "--adapter", weights),
        refused(call, 5, "generate", bundle, "--prompt", "x", "--adapter", weights),
        refused(call, 5, "train", bundle, "--data", text_rows, "--init-adapter", weights, "--output", output),
    }
    assert f"{text_rows}: a file, expected a folder" in refused(call, 4, "inspect", text_rows)


def test_an_output_in_the_bundle_is_refused(call: Cli, tiny_bundle: Bundled, text_rows: Path) -> None:
    output = tiny_bundle.bundle / "adapter"
    message = refused(call, 2, "train", tiny_bundle.bundle, "--data", text_rows, "--output", output)
    assert f"output {output}: expected a folder outside the bundle" in message
    assert not output.exists()


def test_the_output_does_not_hide_other_problems(call: Cli, tiny_bundle: Bundled, trained: Path) -> None:
    arguments = ("--data", "absent.jsonl", "--output", trained, "--rank", 99, "--target-modules", "no", "--eval-every")
    message = refused(call, 2, "train", tiny_bundle.bundle, *arguments, 3)
    words = ("already holds an adapter", "absent.jsonl: expected", "rank 99", "not in this bundle: no", "--valid FILE")
    assert all(word in message for word in words), message


def test_an_output_that_takes_no_folder_is_told_before_training(
    call: Cli, tiny_bundle: Bundled, text_rows: Path
) -> None:
    result = call("train", tiny_bundle.bundle, "--data", text_rows, "--output", "/proc/adapter", "--json")
    assert result.exit_code == 7
    (line,) = result.stdout.splitlines()
    assert "output /proc/adapter cannot be written" in line


def test_an_empty_prompt_starts_from_the_beginning(call: Cli, tiny_bundle: Bundled) -> None:
    result = call("generate", tiny_bundle.bundle, "--prompt", "", "--max-new-tokens", 2, "--json")
    assert result.exit_code == 0, result.output
    # The token that begins a text.
    assert '"prompt_tokens": 1,' in result.stdout
    assert "empty: from the start" in " ".join(call("generate", "--help").stdout.split())
