"""A C handle with an owner: closed once, by `close`, a `with` block, or the garbage collector."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from ctypes import c_void_p
from types import TracebackType

from typing_extensions import Self

from pocketlora_export.errors import PocketLoraError, Status


class Handle:
    """Owns a `void*` of the C API and releases it exactly once."""

    def __init__(self, pointer: c_void_p, release: Callable[[c_void_p], None]) -> None:
        self._pointer = pointer
        self._finalizer = weakref.finalize(self, release, pointer)

    @property
    def pointer(self) -> c_void_p:
        """The C handle. Raises INVALID_STATE once it is closed."""
        if not self._finalizer.alive:
            raise PocketLoraError(Status.INVALID_STATE, f"this {type(self).__name__} is closed")
        return self._pointer

    def close(self) -> None:
        """Release the handle; closing twice is harmless."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
