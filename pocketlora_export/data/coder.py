"""A bundle's tokenizer: text and conversations to tokens and labels, tokens back to text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pocketlora_export.data.chat import ChatTemplate, Message
from pocketlora_export.data.detokenizer import Detokenizer
from pocketlora_export.data.encoded import IGNORED, Encoded
from pocketlora_export.data.jsonl import Segment
from pocketlora_export.errors import PocketLoraError, Status


class TextCoder:
    """Encodes by docs/text-rows.md."""

    def __init__(
        self, tokenizer: Tokenizer, eos_token_ids: Sequence[int], template: ChatTemplate | None, origin: Path
    ) -> None:
        """`origin` names the bundle in messages."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.eos_token_ids = tuple(eos_token_ids)
        self._template = template
        self._origin = origin

    @classmethod
    def from_bundle(cls, bundle: Path, manifest: dict[str, Any]) -> TextCoder:
        """The coder of a bundle, from its tokenizer files and its (already checked) manifest."""
        if manifest.get("tokenizer") is None:
            raise PocketLoraError(Status.INPUT_UNSUPPORTED, f"bundle {bundle} has no tokenizer, so it takes no text")
        path = bundle / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
            raise PocketLoraError(Status.BUNDLE_CORRUPT, f"{path}: not a tokenizer file: {error}") from None
        return cls(tokenizer, manifest["model"]["eos_token_ids"], _template(bundle, manifest), bundle)

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be encoded."""
        return self._template is not None

    def encode_text(self, text: str) -> Encoded:
        """A `text` row: the tokenizer's own special tokens, then EOS unless it is there already; all labels."""
        tokens = np.array(self._with_eos(self.tokenizer.encode(text).ids), dtype=np.int64)
        return Encoded(tokens, tokens.copy())

    def encode_pair(self, prompt: str, completion: str, *, train_on_prompt: bool = False) -> Encoded:
        """A `prompt` row: the tokens of the `text` row of both; labels are the completion and EOS."""
        encoding = self.tokenizer.encode(prompt + completion)
        ids = self._with_eos(encoding.ids)
        wanted = _labelled(encoding, [Segment(prompt, train_on_prompt), Segment(completion, True)])
        return _encoded(ids, [*wanted, *[True] * (len(ids) - len(wanted))])

    def encode_segments(self, segments: Sequence[Segment], *, train_on_prompt: bool = False) -> Encoded:
        """A `segments` row: the text spells its special tokens; labels are the segments that say so."""
        text = "".join(segment.text for segment in segments)
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        wanted = [True] * len(encoding.ids) if train_on_prompt else _labelled(encoding, segments)
        return _encoded(encoding.ids, wanted)

    def encode_messages(
        self, messages: Sequence[Message], *, train_on_prompt: bool = False, prompt_turns: int = 0
    ) -> Encoded:
        """A `messages` row; labels are the assistant turns behind the first `prompt_turns`, or everything."""
        template = self._chat_template()
        text = template.render(messages)
        tokens = np.array(self._ids(text), dtype=np.int64)
        if train_on_prompt:
            return Encoded(tokens, tokens.copy())
        labels = np.full_like(tokens, IGNORED)
        for turn, message in enumerate(messages):
            if turn >= prompt_turns and message["role"] == "assistant":
                span = self._turn(template, messages, turn, text, tokens)
                labels[span] = tokens[span]
        return Encoded(tokens, labels)

    def encode_prompt(self, text: str) -> list[int]:
        """A prompt to continue: the tokenizer's own special tokens, no EOS."""
        ids: list[int] = self.tokenizer.encode(text).ids
        while len(ids) > 1 and ids[-1] in self.eos_token_ids:
            ids.pop()
        return ids

    def encode_chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """A conversation that the assistant is to answer."""
        try:
            return self._ids(self._chat_template().render(messages, add_generation_prompt=True))
        except ValueError as error:
            raise PocketLoraError(Status.INPUT_MALFORMED, str(error)) from None

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of tokens that continue `after`, special tokens left out."""
        stream = Detokenizer(self.tokenizer, after)
        return "".join([*map(stream.push, tokens), stream.flush()])

    def _chat_template(self) -> ChatTemplate:
        if self._template is None:
            raise PocketLoraError(
                Status.INPUT_UNSUPPORTED,
                f"bundle {self._origin} has no chat template; use plain text instead of messages",
            )
        return self._template

    def _with_eos(self, ids: list[int]) -> list[int]:
        ends = not self.eos_token_ids or (bool(ids) and ids[-1] in self.eos_token_ids)
        return ids if ends else [*ids, self.eos_token_ids[0]]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _turn(
        self, template: ChatTemplate, messages: Sequence[Message], turn: int, text: str, tokens: NDArray[np.int64]
    ) -> slice:
        """The tokens that turn `turn` adds: where the renderings before and after it stop agreeing with the whole."""
        before = template.render(messages[:turn], add_generation_prompt=True)
        after = text if turn == len(messages) - 1 else template.render(messages[: turn + 1])
        if not (after.startswith(before) and text.startswith(after)):
            raise ValueError(
                f"the chat template does not render messages[{turn}] as a continuation of what is before it, so its "
                "tokens cannot be told apart; --train-on-prompt labels everything"
            )
        return slice(_agreement(self._ids(before), tokens), _agreement(self._ids(after), tokens))


def _labelled(encoding: Encoding, segments: Sequence[Segment]) -> list[bool]:
    """For each token, whether the segment that holds its last character is to be learned."""
    labels = [segment.label for segment in segments]
    ends = np.cumsum([len(segment.text) for segment in segments])
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    last = np.maximum(offsets[:, 0], offsets[:, 1] - 1)
    # The tokenizer's own special tokens have no place in the text: those at its end come after the last segment.
    added = np.array(encoding.special_tokens_mask, dtype=bool) & (offsets[:, 1] == 0)
    text = np.flatnonzero(~added)
    last[(text[-1] if len(text) else -1) + 1 :] = ends[-1]
    where = np.minimum(np.searchsorted(ends, last, side="right"), len(segments) - 1)
    return [labels[index] for index in where]


def _encoded(ids: Sequence[int], wanted: Sequence[bool]) -> Encoded:
    tokens = np.array(ids, dtype=np.int64)
    return Encoded(tokens, np.where(np.array(wanted, dtype=bool), tokens, IGNORED))


def _agreement(ids: Sequence[int], tokens: NDArray[np.int64]) -> int:
    """Length of the common prefix."""
    n = min(len(ids), len(tokens))
    differing = np.flatnonzero(np.asarray(ids[:n], dtype=np.int64) != tokens[:n])
    return int(differing[0]) if len(differing) else n


def _template(bundle: Path, manifest: dict[str, Any]) -> ChatTemplate | None:
    name = manifest["tokenizer"].get("chat_template")
    if name is None:
        return None
    path = bundle / name
    special_tokens = read_special_tokens(bundle / "tokenizer_config.json")
    try:
        return ChatTemplate(path.read_text(encoding="utf-8"), special_tokens)
    except (ValueError, OSError) as error:
        raise PocketLoraError(Status.BUNDLE_CORRUPT, f"{path}: {error}") from None


def read_special_tokens(path: Path, status: Status = Status.BUNDLE_CORRUPT) -> dict[str, str]:
    """`bos_token` and its like from tokenizer_config.json, whose values are strings or objects with `content`.

    Raises `status` when the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise PocketLoraError(status, f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        found = type(config).__name__
        raise PocketLoraError(status, f"{path}: expected a JSON object, found {found}")
    values = {key: value for key, value in config.items() if key.endswith("_token")}
    contents = {key: value.get("content") if isinstance(value, dict) else value for key, value in values.items()}
    return {key: content for key, content in contents.items() if content and isinstance(content, str)}
