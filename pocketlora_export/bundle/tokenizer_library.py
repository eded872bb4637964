"""libpocketlora_tokenizer through ctypes: the C++ side of a bundle's tokenizer, to hold it against Hugging Face's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from pocketlora_export.errors import PocketLoraError, Status

ABI_VERSION = 1
LIBRARY_NAME = "libpocketlora_tokenizer.so"
LIBRARY_VARIABLE = "POCKETLORA_TOKENIZER_LIBRARY"
_PACKAGE = Path(__file__).resolve().parent.parent

# name -> (result, arguments) of every function of pocketlora_tokenizer.h that is used here.
PROTOTYPES: dict[str, tuple[object, list[object]]] = {
    "pl_tokenizer_abi_version": (c_uint32, []),
    "pl_tokenizer_last_error": (c_char_p, []),
    "pl_tokenizer_open": (c_int32, [c_char_p, POINTER(c_void_p)]),
    "pl_tokenizer_close": (None, [c_void_p]),
    "pl_tokenizer_encode": (
        c_int32,
        [c_void_p, c_char_p, c_size_t, c_int32, POINTER(c_int64), c_size_t, POINTER(c_size_t)],
    ),
    "pl_tokenizer_decode": (
        c_int32,
        [c_void_p, POINTER(c_int64), c_size_t, c_int32, c_char_p, c_size_t, POINTER(c_size_t)],
    ),
    "pl_text_stream_create": (c_int32, [c_void_p, c_int32, POINTER(c_void_p)]),
    "pl_text_stream_free": (None, [c_void_p]),
    "pl_text_stream_push": (c_int32, [c_void_p, c_int64, POINTER(c_void_p), POINTER(c_size_t)]),
    "pl_text_stream_flush": (c_int32, [c_void_p, POINTER(c_void_p), POINTER(c_size_t)]),
}


def find_library() -> Path | None:
    """Where the library is: the environment variable's place, beside the runtime's library, or in build/host."""
    chosen, runtime = os.environ.get(LIBRARY_VARIABLE), os.environ.get("POCKETLORA_LIBRARY")
    places = [_PACKAGE / "_lib", _PACKAGE.parent / "build" / "host"]
    if runtime:
        places.insert(0, Path(runtime).parent)
    paths = [Path(chosen)] if chosen else [place / LIBRARY_NAME for place in places]
    return next((path for path in paths if path.is_file()), None)


@lru_cache(maxsize=4)
def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise PocketLoraError(Status.BACKEND_MISSING, f"{path} cannot be used: {error}; rebuild it") from error
    found = library.pl_tokenizer_abi_version()
    if found != ABI_VERSION:
        message = f"{path} has ABI version {found}, this package needs {ABI_VERSION}; rebuild it with 'make build'"
        raise PocketLoraError(Status.BACKEND_MISSING, message)
    return library


class CompactTokenizer:
    """A tokenizer file, opened by the C++ library."""

    def __init__(self, path: Path) -> None:
        """Open a file. Raises BACKEND_MISSING without the library, or what the library found wrong with the file."""
        library = find_library()
        if library is None:
            message = f"{LIBRARY_NAME} was not found; build it with 'make build', or point {LIBRARY_VARIABLE} at it"
            raise PocketLoraError(Status.BACKEND_MISSING, message)
        self._library = _load(library)
        self._handle = c_void_p()
        self._check(self._library.pl_tokenizer_open(os.fsencode(path), byref(self._handle)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file."""
        self._library.pl_tokenizer_close(self._handle)
        self._handle = c_void_p()

    def encode(self, text: str | bytes, *, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text; bytes need not be UTF-8."""
        data = text.encode("utf-8") if isinstance(text, str) else text
        ids = (c_int64 * (len(data) // 2 + 64))()
        count = self.encode_into(data, ids, add_special_tokens=add_special_tokens)
        if count > len(ids):
            ids = (c_int64 * count)()
            self.encode_into(data, ids, add_special_tokens=add_special_tokens)
        return ids[:count]

    def encode_into(self, data: bytes, ids: ctypes.Array[c_int64], *, add_special_tokens: bool = True) -> int:
        """Write as many ids as there is room for; the number of all of them."""
        count = c_size_t()
        arguments = (data, len(data), int(add_special_tokens), ids, len(ids), byref(count))
        self._check(self._library.pl_tokenizer_encode(self._handle, *arguments))
        return count.value

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> bytes:
        """The text of ids, UTF-8."""
        array, length = (c_int64 * len(ids))(*ids), c_size_t()
        arguments = (self._handle, array, len(ids), int(skip_special_tokens))
        self._check(self._library.pl_tokenizer_decode(*arguments, None, 0, byref(length)))
        text = ctypes.create_string_buffer(max(length.value, 1))
        self._check(self._library.pl_tokenizer_decode(*arguments, text, length.value, byref(length)))
        return text.raw[: length.value]

    def stream(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> list[bytes]:
        """What each id makes certain when they arrive one by one, and last what is left at the end."""
        stream, text, length = c_void_p(), c_void_p(), c_size_t()
        self._check(self._library.pl_text_stream_create(self._handle, int(skip_special_tokens), byref(stream)))
        pieces = []
        for number in ids:
            self._check(self._library.pl_text_stream_push(stream, number, byref(text), byref(length)))
            pieces.append(ctypes.string_at(text, length.value) if text.value else b"")
        self._check(self._library.pl_text_stream_flush(stream, byref(text), byref(length)))
        pieces.append(ctypes.string_at(text, length.value) if text.value else b"")
        self._library.pl_text_stream_free(stream)
        return pieces

    def _check(self, status: int) -> None:
        if status == Status.OK:
            return
        message = self._library.pl_tokenizer_last_error().decode("utf-8", "replace")
        raise PocketLoraError(Status(status), message)
