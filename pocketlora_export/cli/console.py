"""What every command shares for talking to people (stderr) and to programs (stdout)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from pocketlora_export.errors import PocketLoraError, Status

EVENT_SCHEMA = 1
F = TypeVar("F", bound=Callable[..., Any])

# stdout stays machine-readable: progress, notes and errors go to stderr.
stderr = Console(stderr=True, highlight=False)
_JSON_KEY = "pocketlora.json"


def json_option(help_text: str = "Print JSON on stdout, one object a line.") -> Callable[[F], F]:
    """The option `--json`, parameter `as_json`. Parsed first, so that errors of other options are JSON too."""

    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        ctx.meta[_JSON_KEY] = value
        return value

    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=remember, help=help_text)


def json_output() -> bool:
    """Whether the running command was asked for JSON."""
    ctx = click.get_current_context(silent=True)
    return bool(ctx is not None and ctx.meta.get(_JSON_KEY, False))


def json_line(value: object) -> str:
    """One JSON value on one line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # A path that is not UTF-8 holds lone surrogates; written with a backslash they are JSON's own escapes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def print_json(value: object) -> None:
    """Print one JSON value on one line of stdout, at once."""
    click.echo(json_line(value))


def stdout() -> Console:
    """A console for results that people read."""
    return Console(highlight=False)


def finite(value: float) -> float | None:
    """The number, or None where JSON has no number for it (NaN, infinity)."""
    return value if math.isfinite(value) else None


def make_event(event: str, **fields: object) -> dict[str, Any]:
    """One event (docs/events.md) of this moment."""
    return {"v": EVENT_SCHEMA, "event": event, "time": time.time(), **fields}


def print_event(event: str, **fields: object) -> None:
    """Print one event on stdout."""
    print_json(make_event(event, **fields))


def print_error_event(status: Status, message: str) -> None:
    """Print the `error` event."""
    print_event("error", code=int(status), name=status.name, message=message)


def note(message: str) -> None:
    """One line for the person at the terminal, on stderr."""
    stderr.print(escape(message), soft_wrap=True)


def warn(message: str, status: Status = Status.OK) -> None:
    """A warning on stderr, and as an event with --json."""
    stderr.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)
    if json_output():
        print_event("warning", code=int(status), message=message)


def report_error(error: PocketLoraError) -> None:
    """A failure on stderr, and as an event with --json."""
    stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
    if json_output():
        print_error_event(error.status, str(error))


def report_interrupt(detail: str = "") -> None:
    """Ctrl-C on stderr, and as an event with --json."""
    message = f"interrupted: {detail}" if detail else "interrupted"
    stderr.print(escape(message), soft_wrap=True)
    if json_output():
        print_error_event(Status.CANCELLED, message)


def training_progress() -> Progress:
    """The bar of a training: the same, but the time left and everything else come with the task's fields."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", style="progress.remaining"),
        TextColumn("{task.fields[status]}", markup=False),
    )
    return Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)


def progress() -> Progress:
    """A progress bar on stderr: description, bar, count, time left, and the task field `status`."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=stderr,
        transient=True,
        # rich would leave an empty line in a log file.
        disable=not stderr.is_terminal,
    )
