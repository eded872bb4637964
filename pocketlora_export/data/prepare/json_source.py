"""A JSON array as numbered records, element by element. A damaged element costs itself, not the rest of the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from pocketlora_export.data.prepare.source import MAX_ROW, Record, SourceFile, Unreadable

_BLOCK = 1 << 20
_BETWEEN = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")
# Strings do not span lines, so that a quote which is never closed is over at the end of its line.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\],]')
# What a decoder says of text that merely stops too early may point a few characters before its end.
_NEAR_END = 16


def read_json_array(file: SourceFile) -> Iterator[Record]:
    """The elements of an array that is the whole file."""
    window = _Window(file)
    window.skip(re.compile(r"\s*\["))
    while True:
        window.skip(_BETWEEN)
        if window.at_end():
            yield Record(window.line, Unreadable("not JSON: the array is not closed"))
            return
        if window.text.startswith("]", window.position):
            return
        line = window.line
        value = window.element()
        yield Record(line, value)


class _Window:
    """The part of the file that is being looked at."""

    def __init__(self, file: SourceFile) -> None:
        self.text = ""
        self.position = 0
        self.line = 1
        self._file = file
        # Bytes that are not UTF-8 become lone surrogates, which a row's strings may not hold.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._json = json.JSONDecoder()
        self._ended = False
        self._more()

    def at_end(self) -> bool:
        """Whether nothing is left."""
        while self.position == len(self.text) and not self._ended:
            self._more()
        return self.position == len(self.text)

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Step over what the pattern matches here."""
        while True:
            match = pattern.match(self.text, self.position)
            end = self.position if match is None else match.end()
            if end < len(self.text) or self._ended:
                self._advance(end)
                return
            self._more()

    def element(self) -> Any:
        """The value here, or what is wrong with it; steps behind it."""
        while True:
            try:
                value, end = self._json.raw_decode(self.text, self.position)
            except RecursionError:
                return self._damaged("JSON nested too deeply")
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos >= len(self.text) - _NEAR_END
                if not unfinished or self._ended or self._full():
                    return self._damaged(f"{error.msg} (line {self.line + self._lines_before(error.pos)})")
            else:
                # A number may go on in the next block.
                if end < len(self.text) or self._ended:
                    self._advance(end)
                    return value
            self._more()

    def _full(self) -> bool:
        return len(self.text) - self.position > MAX_ROW

    def _lines_before(self, position: int) -> int:
        return self.text.count("\n", self.position, position)

    def _damaged(self, message: str) -> Unreadable:
        """Step to where the next element seems to begin."""
        while (end := self._next_element()) is None and not (self._ended or self._full()):
            self._more()
        self._advance(len(self.text) if end is None else end)
        lost = "; the rest of the file cannot be told apart" if end is None else ""
        return Unreadable(f"not JSON: {message}{lost}")

    def _next_element(self) -> int | None:
        """Behind the bracket that closes the element here; or the next line that opens one like it."""
        closed = self._closing()
        start = self.text.rfind("\n", 0, self.position) + 1
        indent = self.text[start : self.position]
        opened = None
        if not indent.strip():
            opened = re.compile(rf"\n{indent}[{{\[]").search(self.text, self.position + 1)
        ends = [end for end in (closed, opened.start() if opened else None) if end is not None]
        return min(ends) if ends else None

    def _closing(self) -> int | None:
        depth = 0
        for token in _TOKEN.finditer(self.text, self.position):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
                if depth == 0 or (token[0] == "}" and depth < 0):
                    return token.end()
            if depth < 0 or (token[0] == "," and depth == 0):
                return token.start()
        return None

    def _advance(self, position: int) -> None:
        self.line += self._lines_before(position)
        self.position = position

    def _more(self) -> None:
        data = self._file.read(max(_BLOCK, len(self.text) - self.position))
        self._ended = not data
        # The beginning of the line stays: it tells how far the element is indented.
        keep = self.text.rfind("\n", 0, self.position) + 1
        keep = keep if self.position - keep < 256 else self.position
        self.text = self.text[keep:] + self._decoder.decode(data, final=self._ended)
        self.position -= keep
