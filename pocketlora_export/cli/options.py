"""Arguments and options that several commands share, and what they mean."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, reduce
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_weights import WeightedFolder
from pocketlora_export.cli.values import TEXT
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.dataset import Dataset, RowOptions, load_dataset
from pocketlora_export.data.packing import PackLimits
from pocketlora_export.errors import PocketLoraError, Status, all_of
from pocketlora_export.runtime import Adapter, Engine

F = TypeVar("F", bound=Callable[..., Any])
# Existence is checked where the path is used: one message and one exit code for C and Python.
PATH = click.Path(path_type=Path)


def bundle_argument(function: F) -> F:
    """The argument BUNDLE."""
    return click.argument("bundle", type=PATH)(function)


def runtime_options(function: F) -> F:
    """`--threads` and `--backend`."""
    return _apply(
        function,
        click.option(
            "--threads", type=click.IntRange(min=0), default=0, show_default="all cores", help="Number of threads."
        ),
        click.option(
            "--backend",
            type=TEXT,
            default="auto",
            show_default=True,
            help="Which programs of the bundle to run; auto: the first that can run here.",
        ),
    )


def row_options(function: F) -> F:
    """`--truncate` and `--train-on-prompt`."""
    return _apply(
        function,
        click.option("--truncate", is_flag=True, help="Cut rows that are longer than the bundle allows."),
        click.option("--train-on-prompt", is_flag=True, help="Label all tokens of a conversation, not only answers."),
    )


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C meanwhile. Signals belong to the main thread; elsewhere nothing changes."""
    with _interrupts(signal.SIG_IGN):
        yield


@contextmanager
def interrupts_handled(handle: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C call `handle` meanwhile, and do nothing else. Only in the main thread."""
    with _interrupts(lambda _number, _frame: handle()):
        yield


@contextmanager
def _interrupts(handler: signal.Handlers | Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def load_rows(
    engine: Engine, bundle: Path, path: Path, *, truncate: bool, train_on_prompt: bool, preferences: bool = False
) -> Dataset:
    """The rows of a file, encoded for this bundle; with `preferences` they are pairs of answers."""
    facts = engine.facts
    coder = TextCoder.from_bundle(bundle, facts.manifest)
    vocab_size = facts.manifest["model"]["vocab_size"]
    options = RowOptions(facts.train_t_max, truncate, train_on_prompt, facts.max_segments, vocab_size, preferences)
    return load_dataset(path, coder, options)


def pack_limits(engine: Engine) -> PackLimits:
    """What one micro-batch of this bundle may hold."""
    return PackLimits(engine.facts.train_t_max, engine.facts.max_segments)


@contextmanager
def opened_adapters(
    engine: Engine, folders: Sequence[WeightedFolder], *, fall_back: bool = False
) -> Iterator[list[tuple[Adapter, float]]]:
    """The adapter set of `--adapter`, with weights; empty = the bare base. All bad folders are told at once.

    With `fall_back` they are told as a warning, and the set is empty.
    """
    with ExitStack() as stack:
        loads = [partial(_opened, engine, found, stack) for found in folders]
        try:
            adapters = all_of(*loads)
        except PocketLoraError as error:
            if not fall_back:
                raise
            console.warn(f"the base answers without its adapters: {error}", error.status)
            adapters = []
        yield adapters


def _opened(engine: Engine, found: WeightedFolder, stack: ExitStack) -> tuple[Adapter, float]:
    return stack.enter_context(load_adapter(engine, found.folder)), found.weight


def load_adapter(engine: Engine, folder: Path) -> Adapter:
    """Load a PEFT folder; a file in its place, such as the weights alone, is an error of its own."""
    if folder.is_file():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{folder}: a file, expected an adapter folder")
    return engine.load_adapter(folder)


def _apply(function: F, *decorators: Callable[[F], F]) -> F:
    return reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)
