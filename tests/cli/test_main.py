"""The command group: lazy, helpful, and every failure a message and an exit code."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from pocketlora_export.cli import console, main
from pocketlora_export.errors import PocketLoraError, Status


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `train` that raises what a test puts into the list."""
    raised: list[BaseException] = []

    @click.command()
    @click.option("--some-number", type=int)
    @console.json_option()
    def command(some_number: int | None, as_json: bool) -> None:
        for error in raised:
            raise error

    monkeypatch.setattr(
        "pocketlora_export.cli.main.importlib.import_module", lambda _name: SimpleNamespace(command=command)
    )
    return raised


def invoke(runner: CliRunner, *arguments: str) -> Result:
    return runner.invoke(main.cli, list(arguments), prog_name="pocketlora-export")


def test_help_lists_every_command_without_importing_any(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pocketlora_export.cli.main.importlib.import_module", lambda name: pytest.fail(f"imported {name}")
    )
    result = invoke(runner, "--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in main.COMMANDS)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help_and_an_example(runner: CliRunner, name: str) -> None:
    result = invoke(runner, name, "--help")
    assert result.exit_code == 0, result.output
    assert f"pocketlora-export {name}" in result.stdout.split("Options:")[1]


def test_unknown_commands_are_usage_errors(runner: CliRunner) -> None:
    result = invoke(runner, "trian")
    assert result.exit_code == 2
    assert "trian" in result.stderr


@pytest.mark.parametrize("status", [status for status in Status if status])
def test_a_failure_is_a_message_and_an_exit_code(
    runner: CliRunner, failing: list[BaseException], status: Status
) -> None:
    failing.append(PocketLoraError(status, "the thing [x]: expected a, found b"))
    result = invoke(runner, "train")
    assert result.exit_code == status.exit_code != 0
    assert result.stderr == "error: the thing [x]: expected a, found b\n"
    assert result.stdout == ""


def test_with_json_a_failure_is_an_event_too(runner: CliRunner, failing: list[BaseException]) -> None:
    failing.append(PocketLoraError(Status.ADAPTER_MISMATCH, "no"))
    result = invoke(runner, "train", "--json")
    event = json.loads(result.stdout)
    assert result.exit_code == 5
    assert event.pop("time") > 0
    assert event == {"v": 1, "event": "error", "code": 402, "name": "ADAPTER_MISMATCH", "message": "no"}
    assert "error: no" in result.stderr


def test_usage_errors_are_events_with_json(runner: CliRunner, failing: list[BaseException]) -> None:
    result = invoke(runner, "train", "--some-number", "x", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["name"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), 7),
        (PermissionError(errno.EACCES, "Permission denied", "/out/x"), 7),
        (FileNotFoundError(errno.ENOENT, "No such file", "/out/x"), 3),
        (KeyboardInterrupt("after step 3"), 130),
    ],
)
def test_system_errors_have_codes(
    runner: CliRunner, failing: list[BaseException], error: BaseException, exit_code: int
) -> None:
    failing.append(error)
    result = invoke(runner, "train")
    assert result.exit_code == exit_code
    assert ("/out/x" if exit_code != 130 else "interrupted: after step 3") in result.stderr


def test_options_may_be_written_with_underscores(runner: CliRunner, failing: list[BaseException]) -> None:
    assert invoke(runner, "train", "--some_number", "3").exit_code == 0
    assert invoke(runner, "train", "--some-number=3").exit_code == 0
