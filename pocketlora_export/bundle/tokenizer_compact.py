"""The compact tokenizer of a bundle: made beside tokenizer.json, and held against it through the C++ library."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from pocketlora_export.bundle.manifest import Golden
from pocketlora_export.bundle.tokenizer_convert import convert_tokenizer
from pocketlora_export.bundle.tokenizer_library import LIBRARY_NAME, CompactTokenizer, find_library
from pocketlora_export.errors import PocketLoraError, Status, raise_all

COMPACT = "tokenizer.plt"


def compact_problems(path: Path, goldens: list[Golden]) -> list[str]:
    """Every golden that the C++ library encodes differently, or why it cannot open the file.

    Raises:
        PocketLoraError: BACKEND_MISSING without the library.
    """
    try:
        with CompactTokenizer(path) as compact:
            found = [(golden, compact.encode(golden.text)) for golden in goldens]
    except PocketLoraError as error:
        if error.status is Status.BACKEND_MISSING:
            raise
        return [str(error)]
    return [f"{path}: golden {g.text!r}: expected ids {g.ids}, found {ids}" for g, ids in found if ids != g.ids]


def write_compact(
    target: Path, tokenizer: FastTokenizer, goldens: list[Golden], origin: Path
) -> tuple[bool, list[str]]:
    """Write tokenizer.plt and let the C++ library encode the goldens.

    Args:
        target: the bundle's folder.
        tokenizer: what the file shall do.
        goldens: texts with its ids.
        origin: the user's tokenizer.json, for messages.

    Returns:
        Whether there is a file, and warnings: a tokenizer with parts that it cannot say has none, and without the
        library it is not checked.

    Raises:
        PocketLoraError: INTERNAL when the library disagrees with the tokenizer.
    """
    try:
        data = convert_tokenizer(tokenizer)
    except PocketLoraError as error:
        message = f"{origin}: no {COMPACT} is made, so texts need the host's tokenizer: {error}"
        return False, [message]
    (target / COMPACT).write_bytes(data)
    if find_library() is None:
        return True, [f"{COMPACT} was not checked: {LIBRARY_NAME} is not built here; `verify` checks it where it is"]
    raise_all(
        Status.INTERNAL,
        f"{origin}: the C++ tokenizer gives other ids than Hugging Face's:",
        compact_problems(target / COMPACT, goldens),
    )
    return True, []
