"""The kinds of rows: told apart, checked, cleaned, brought to one form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pocketlora_export.data.chat import Message
from pocketlora_export.data.json_values import kind_of, parse_messages, parse_string
from pocketlora_export.data.prepare.clean import clean_text
from pocketlora_export.data.prepare.options import PrepareOptions

# kind -> the keys that make a row one of it. `input` of an instruction may be missing.
REQUIRED = {
    "text": ("text",),
    "qa": ("question", "answer"),
    "instruction": ("instruction", "output"),
    "prompt": ("prompt", "completion"),
    "chat": ("messages",),
}
# Every key that means something.
FIELDS = ("text", "question", "answer", "instruction", "input", "output", "prompt", "completion", "messages", "system")
_QUESTION = {"qa": "question", "instruction": "instruction", "prompt": "prompt"}
_ANSWER = {"qa": "answer", "instruction": "output", "prompt": "completion"}


@dataclass(frozen=True)
class Sample:
    """A row as it was meant.

    Attributes:
        kind: a key of REQUIRED.
        text: of a text row; "" otherwise.
        messages: the conversation that any other row is.
        input: what an instruction is about, which its user message has below the instruction; "" = nothing.
        instruction: the user message without `input`.
    """

    kind: str
    text: str = ""
    messages: tuple[Message, ...] = ()
    instruction: str = ""
    input: str = ""

    @property
    def system(self) -> str | None:
        """The system message that the conversation begins with."""
        first = self.messages[0]
        return first["content"] if first["role"] == "system" else None

    def content(self) -> str:
        """All that is said, and by whom: what makes two rows equal."""
        if self.kind == "text":
            return self.text
        # Separators, so that "ab", "c" is not "a", "bc".
        return "\x1f".join(f"{message['role']}\x1e{message['content']}" for message in self.messages)

    def single(self) -> tuple[str, str]:
        """User message and answer of a conversation of two. Raises ValueError when it is another one."""
        turns = [message for message in self.messages if message["role"] != "system"]
        roles = [message["role"] for message in turns]
        if roles != ["user", "assistant"]:
            raise ValueError(f"expected one user message and one answer, found {', '.join(roles)}")
        return turns[0]["content"], turns[1]["content"]


def parse_sample(value: Any, options: PrepareOptions) -> Sample:
    """The sample of one row. Raises ValueError that says what was expected and found."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {kind_of(value)}")
    renamed = _renamed(value, options.mapping)
    kind = _kind(renamed, options.kind)
    if kind == "text":
        return Sample("text", text=_cleaned(parse_string(renamed["text"], "'text'"), options))
    if kind == "chat":
        return _chat(renamed["messages"], options)
    return _question(kind, renamed, options)


def _renamed(value: dict[str, Any], mapping: dict[str, str]) -> dict[str, Any]:
    if not mapping:
        return value
    taken = set(mapping.values())
    kept = {key: item for key, item in value.items() if key not in taken}
    return kept | {key: value[source] for key, source in mapping.items() if source in value}


def _kind(value: dict[str, Any], asked: str) -> str:
    if asked != "auto":
        missing = [key for key in REQUIRED[asked] if key not in value]
        if missing:
            found = ", ".join(map(repr, value)) or "an empty object"
            raise ValueError(f"expected {' and '.join(map(repr, missing))}, found {found}")
        return asked
    kinds = [kind for kind, keys in REQUIRED.items() if all(key in value for key in keys)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise ValueError(f"the row can be {' or '.join(kinds)}: --kind says which")
    choices = "; ".join(" and ".join(map(repr, keys)) for keys in REQUIRED.values())
    raise ValueError(f"expected {choices}; found {', '.join(map(repr, value)) or 'an empty object'}")


def _cleaned(text: str, options: PrepareOptions, *, edges: bool = True) -> str:
    return clean_text(text, options.unicode, edges=edges) if options.clean else text


def _chat(value: Any, options: PrepareOptions) -> Sample:
    if isinstance(value, str):
        # A column of CSV.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("expected 'messages' to be a JSON list, found other text") from None
    messages = [m | {"content": _cleaned(m["content"], options)} for m in parse_messages(value)]
    if all(message["role"] != "assistant" for message in messages):
        raise ValueError("no token to learn from: expected an assistant message, found none")
    return Sample("chat", messages=_with_system(messages, options.system))


def _question(kind: str, value: dict[str, Any], options: PrepareOptions) -> Sample:
    # Prompt and completion are meant to be read as one text.
    edges = kind != "prompt"
    question, answer = (
        _cleaned(parse_string(value[key], f"'{key}'"), options, edges=edges) for key in (_QUESTION[kind], _ANSWER[kind])
    )
    about = value.get("input") if kind == "instruction" else None
    about = "" if about is None else _cleaned(parse_string(about, "'input'"), options)
    system = value.get("system")
    system = options.system if system in (None, "") else _cleaned(parse_string(system, "'system'"), options)
    user = f"{question}\n\n{about}" if about else question
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return Sample(kind, messages=_with_system(messages, system), instruction=question, input=about)


def _with_system(messages: list[Message], system: str | None) -> tuple[Message, ...]:
    if system is None or messages[0]["role"] == "system":
        return tuple(messages)
    return ({"role": "system", "content": system}, *messages)
