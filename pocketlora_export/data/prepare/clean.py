"""Cleaning of one text."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, cast

FORMS = ("nfc", "nfkc", "none")
# Control characters but tab and line feed, and the byte order mark; what is left of \r\n is a line feed.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_LINE_END = re.compile(r"\r\n?")
_TRAILING = re.compile(r"[^\S\n]+(?=\n)")
_BLANK_START = re.compile(r"\A(?:[^\S\n]*\n)+")


def clean_text(text: str, form: str = "nfc", *, edges: bool = True) -> str:
    """Normalize Unicode and line ends; drop control characters and white space at the end of lines.

    Args:
        text: any text.
        form: nfc, nfkc or none.
        edges: also drop empty lines at the start and white space at the end. Off for texts whose edges meet another
            text, where a space means something.
    """
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub("", text)
    if form != "none" and not text.isascii():
        text = unicodedata.normalize(cast('Literal["NFC", "NFKC"]', form.upper()), text)
    if "\n" in text:
        text = _TRAILING.sub("", text)
    return _BLANK_START.sub("", text).rstrip() if edges else text
