"""Tokens to text while they arrive, never showing half a character."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

_REPLACEMENT = "\ufffd"
# A character has at most four bytes; beyond this many tokens the bytes are broken and shown as such.
_MAX_HELD = 8


class Detokenizer:
    """Decodes a growing sequence; `push` returns the text that has become certain."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        """`prompt` is what the new tokens continue; it is not returned."""
        self._tokenizer = tokenizer
        # What was shown last settles how a decoder treats the next leading space.
        self._context = list(prompt)
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """The text that `token` completes, "" while a character is incomplete."""
        self._held.append(token)
        text = self._pending()
        if text.endswith(_REPLACEMENT) and len(self._held) < _MAX_HELD:
            return ""
        return self._release(text)

    def flush(self) -> str:
        """What is still held back; broken bytes become U+FFFD."""
        return self._release(self._pending()) if self._held else ""

    def _pending(self) -> str:
        before = self._decode(self._context)
        whole = self._decode(self._context + self._held)
        # When a half character ends the context, its bytes count as new once they are completed.
        shown = before if whole.startswith(before) else before.rstrip(_REPLACEMENT)
        return whole[len(shown) :]

    def _release(self, text: str) -> str:
        # A special token decodes to nothing and says nothing about the next space: keep what was before it.
        self._context = self._held if text else self._context + self._held
        self._held = []
        return text

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text
