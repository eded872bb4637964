"""A conversation without a chat template: its texts one after the other, as a base model continues them."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlora_export.data.chat import Message
from pocketlora_export.data.coder import TextCoder


class PlainChat:
    """Every message, whoever it is of, on lines of its own."""

    def __init__(self, coder: TextCoder) -> None:
        self._coder = coder

    def encode_chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The texts, each with a line feed behind it."""
        return self._coder.encode_prompt("".join(message["content"] + "\n" for message in messages))

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of tokens that continue `after`, special tokens left out."""
        return self._coder.decode(tokens, after)
