"""A folder of adapters whose changes appear to a running engine."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import structs
from pocketlora_export.runtime.engine import Adapter, Engine
from pocketlora_export.runtime.handle import Handle
from pocketlora_export.runtime.library import check, library


class AdapterChange(IntEnum):
    """pl_adapter_change."""

    ADDED = 0
    CHANGED = 1
    REMOVED = 2
    REJECTED = 3


@dataclass(frozen=True)
class AdapterEvent:
    """What became of the adapter folder `name`; `error` says why one was rejected."""

    change: AdapterChange
    name: str
    error: PocketLoraError | None


class AdapterWatch(Handle):
    """The adapters of a folder, each in a subfolder, as they come, change and go."""

    def __init__(
        self, engine: Engine, directory: Path, *, settle_ms: int = 200, interval_ms: int = 1000, poll_only: bool = False
    ) -> None:
        """Watch a folder; the first `poll` tells of the adapters that are there.

        Args:
            engine: the opened bundle that they belong to.
            directory: the folder. Raises INPUT_MISSING when there is none.
            settle_ms: for so long files must be unchanged before they are read.
            interval_ms: between two looks at most.
            poll_only: do not ask the system to tell of changes.
        """
        lib = library()
        options = structs.AdapterWatchOptions()
        lib.pl_adapter_watch_options_init_sized(options, ctypes.sizeof(options))
        options.settle_ms, options.interval_ms, options.poll_only = settle_ms, interval_ms, int(poll_only)
        pointer = ctypes.c_void_p()
        check(lib.pl_adapter_watch_open(engine.pointer, os.fsencode(directory), options, pointer))
        super().__init__(pointer, lib.pl_adapter_watch_close)

    def poll(self, timeout_ms: int = 0) -> list[AdapterEvent]:
        """Look, and wait for at most `timeout_ms` until there is something to tell."""
        events: list[AdapterEvent] = []

        def collect(event: int, _user: object) -> None:
            events.append(_event(structs.AdapterEvent.from_address(event)))

        callback = structs.AdapterCallback(collect)
        check(library().pl_adapter_watch_poll(self.pointer, timeout_ms, callback, None))
        return events

    def get(self, name: str) -> Adapter:
        """The adapter of that name as last told of. Raises ADAPTER_MISSING_FILE when there is none."""
        pointer = ctypes.c_void_p()
        check(library().pl_adapter_watch_get(self.pointer, os.fsencode(name), pointer))
        return Adapter(pointer)


def _event(told: structs.AdapterEvent) -> AdapterEvent:
    change = AdapterChange(told.change)
    error = None
    if change == AdapterChange.REJECTED:
        error = PocketLoraError(Status(told.status), told.message.decode("utf-8", "replace"))
    return AdapterEvent(change, os.fsdecode(told.name), error)
