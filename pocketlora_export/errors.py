"""The one table of status codes (docs/errors.md) and the exception that carries them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """Status codes, equal to `pl_status` of the C API."""

    OK = 0
    INVALID_ARGUMENT = 100
    SEQUENCE_TOO_LONG = 101
    RANK_TOO_LARGE = 102
    UNKNOWN_TARGET_MODULE = 103
    INVALID_STATE = 104
    INPUT_MISSING = 200
    INPUT_MALFORMED = 201
    INPUT_UNSUPPORTED = 202
    INPUT_MISMATCH = 203
    BUNDLE_MISSING_FILE = 300
    BUNDLE_CORRUPT = 301
    BUNDLE_VERSION = 302
    BUNDLE_MISMATCH = 303
    ADAPTER_MISSING_FILE = 400
    ADAPTER_CORRUPT = 401
    ADAPTER_MISMATCH = 402
    ADAPTER_OTHER_BASE = 403
    ADAPTER_UNSUPPORTED = 404
    OUT_OF_MEMORY = 500
    CANCELLED = 501
    IO_READ = 600
    IO_WRITE = 601
    DISK_FULL = 602
    BACKEND_MISSING = 700
    BACKEND_EXECUTION = 701
    BACKEND_SELF_TEST = 702
    INTERNAL = 900

    @property
    def exit_code(self) -> int:
        """The CLI's exit code for this status, from its group of hundreds."""
        return {0: 0, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8}.get(self // 100, 1)


class PocketLoraError(Exception):
    """A user-visible failure: a status and a message that names the thing, what was expected and what was found."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def raise_all(status: Status, headline: str, problems: Iterable[str]) -> None:
    """Raise one error that lists every problem; do nothing when there is none."""
    lines = list(problems)
    if lines:
        raise PocketLoraError(status, "\n".join([headline, *(f"  - {line}" for line in lines)]))


def status_of_os_error(error: OSError) -> Status:
    """The status of a failed system call: a full disk, a missing input, memory, or input/output in general."""
    known = {errno.ENOSPC: Status.DISK_FULL, errno.EDQUOT: Status.DISK_FULL, errno.ENOMEM: Status.OUT_OF_MEMORY}
    if error.errno in known:
        return known[error.errno]
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return Status.INPUT_MISSING
    return Status.IO_WRITE if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else Status.IO_READ


def all_of(*actions: Callable[[], Any]) -> list[Any]:
    """The results of all actions; when some fail, one error with every message and the first status."""
    outcomes = [_attempt(action) for action in actions]
    errors = [outcome for outcome in outcomes if isinstance(outcome, PocketLoraError)]
    if errors:
        raise PocketLoraError(errors[0].status, "\n".join(map(str, errors)))
    return outcomes


def _attempt(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except PocketLoraError as error:
        return error
