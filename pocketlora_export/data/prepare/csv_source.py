"""CSV as numbered records. A damaged row costs itself, not the rows after it."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from pocketlora_export.data.prepare.source import MAX_ROW, Record, SourceFile, Unreadable, too_long

# A field may hold line breaks; a quote that is still open after this many lines was never closed.
_MAX_LINES = 1000
_DELIMITERS = ",;\t"
csv.field_size_limit(MAX_ROW)


def read_csv(file: SourceFile) -> Iterator[Record]:
    """Rows as dictionaries: column name, in lower case and without spaces around it, to text.

    The delimiter is the one of comma, semicolon and tab that the header has most of.
    """
    lines = _Lines(file)
    header = _header(lines)
    if header is None:
        return
    names, delimiter = header
    while (first := lines.next()) is not None:
        number, line = first
        if line.strip():
            yield Record(number, too_long(line) or _row(line, lines, names, delimiter))


class _Lines:
    """The lines of a file, with a way back."""

    def __init__(self, file: SourceFile) -> None:
        self._lines = file.lines()
        self._returned: list[tuple[int, bytes]] = []

    def next(self) -> tuple[int, bytes] | None:
        """The next line and its number; None at the end."""
        return self._returned.pop() if self._returned else next(self._lines, None)

    def give_back(self, lines: list[tuple[int, bytes]]) -> None:
        """These come next again."""
        self._returned += reversed(lines)


def _header(lines: _Lines) -> tuple[list[str], str] | None:
    while (first := lines.next()) is not None and not first[1].strip():
        pass
    if first is None:
        return None
    text = first[1].decode("utf-8-sig", errors="replace")
    delimiter = max(_DELIMITERS, key=text.count)
    fields = _parse(text, delimiter) or [text]
    return [field.strip().lower() for field in fields], delimiter


def _parse(text: str, delimiter: str) -> list[str] | None:
    """The fields of one record; None when it is not CSV."""
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _row(line: bytes, lines: _Lines, names: list[str], delimiter: str) -> dict[str, str] | Unreadable:
    whole, more = line, list[tuple[int, bytes]]()
    # Quotes come in pairs, the doubled ones within a field too: an odd number means that the record goes on.
    while whole.count(b'"') % 2 and len(more) < _MAX_LINES and len(whole) <= MAX_ROW:
        following = lines.next()
        if following is None:
            break
        more.append(following)
        whole += following[1]
    row = _fields(whole, names, delimiter)
    if isinstance(row, Unreadable) and more:
        # The open quote was a mistake of the first line: the others are rows of their own.
        lines.give_back(more)
        return Unreadable("not CSV: a quote is opened and not closed")
    return row


def _fields(record: bytes, names: list[str], delimiter: str) -> dict[str, str] | Unreadable:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: byte {error.start + 1} of the row is 0x{record[error.start]:02x}")
    fields = _parse(text, delimiter)
    if fields is None:
        return Unreadable("not CSV: a quote is opened or closed in the middle of a field")
    if len(fields) != len(names):
        return Unreadable(f"expected {len(names)} columns ({', '.join(names)}), found {len(fields)}")
    return dict(zip(names, fields, strict=True))
