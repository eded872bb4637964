"""The loop of `chat`: messages and commands in, answers out as they are made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import click
from tokenizers import Tokenizer

from pocketlora_export.cli import console
from pocketlora_export.cli.options import interrupts_handled
from pocketlora_export.data.detokenizer import Detokenizer
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Sampling
from pocketlora_export.runtime.conversation import Conversation, Turn

COMMANDS = {
    "/reset": "forget the conversation",
    "/undo": "forget the last question and its answer",
    "/adapter": "FOLDER[:WEIGHT]: let this adapter answer; without a folder the base",
    "/help": "these commands",
    "/exit": "end; so does Ctrl-D",
}
PROMPT = "> "


def lines(interactive: bool) -> Iterator[str]:
    """The user's lines, prompted for on stderr where somebody sits; Ctrl-C at the prompt empties the line."""
    while True:
        try:
            line = _typed() if interactive else _piped()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not interactive:
                raise
            console.note("")
            continue
        yield line


def _typed() -> str:
    console.stderr.print(PROMPT, end="")
    return input()


def _piped() -> str:
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text on stdin, found 0x{error.object[error.start]:02x} at byte {error.start + 1}"
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"{message} of a line") from None


class ChatLoop:
    """Answers lines until they end. What a line cannot be answered with ends a pipe, and is told to a person."""

    def __init__(
        self,
        conversation: Conversation,
        tokenizer: Tokenizer,
        sampling: Sampling,
        set_adapter: Callable[[str], None],
        *,
        as_json: bool,
        interactive: bool,
    ) -> None:
        """`set_adapter` gets what follows `/adapter`."""
        self._conversation, self._tokenizer, self._sampling = conversation, tokenizer, sampling
        self._set_adapter = set_adapter
        self._json, self._interactive = as_json, interactive
        self._asked = 0

    def run(self, typed: Iterator[str]) -> None:
        """Until the lines end, or `/exit`."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pocketlora-chat") as worker:
            for line in typed:
                text = line.strip()
                if text in ("/exit", "/quit"):
                    return
                try:
                    if text.startswith("/"):
                        self._command(text)
                    elif text:
                        self._answer(worker, line)
                except PocketLoraError as error:
                    if not self._interactive:
                        raise
                    console.report_error(error)

    def _command(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        if name == "/reset":
            self._conversation.reset()
            console.note("the conversation begins anew")
        elif name == "/undo":
            console.note("the last turn is forgotten" if self._conversation.undo() else "there is no turn to forget")
        elif name == "/adapter":
            self._set_adapter(argument.strip())
        elif name == "/help":
            console.note("\n".join(f"{command}  {what}" for command, what in COMMANDS.items()))
        else:
            known = ", ".join(COMMANDS)
            raise PocketLoraError(Status.INVALID_ARGUMENT, f"unknown command {name}; expected one of {known}")

    def _answer(self, worker: ThreadPoolExecutor, text: str) -> None:
        # The same question asked again may get another answer; the same conversation gets the same ones.
        sampling = replace(self._sampling, seed=(self._sampling.seed + self._asked) % 2**64)
        self._asked += 1
        writer = _Writer(self._tokenizer, stream=not self._json)
        # Python runs signal handlers between two of its own steps only: the answer is made on another thread.
        with interrupts_handled(self._conversation.cancel):
            turn = worker.submit(self._conversation.ask, text, sampling, writer.push).result()
        writer.finish()
        if turn.dropped_turns:
            console.warn(f"the context is full: the {turn.dropped_turns} oldest turns were dropped")
        if self._json:
            console.print_json(_as_json(text, turn))
        else:
            console.note(_summary(turn))


class _Writer:
    """Writes an answer's text out while its tokens come."""

    def __init__(self, tokenizer: Tokenizer, *, stream: bool) -> None:
        self._tokenizer, self._stream = tokenizer, stream
        self._detokenizer: Detokenizer | None = None

    def push(self, token: int, prompt: Sequence[int]) -> None:
        """One more token of the answer to `prompt`."""
        if self._detokenizer is None:
            self._detokenizer = Detokenizer(self._tokenizer, prompt)
        self._write(self._detokenizer.push(token))

    def finish(self) -> None:
        """The answer has ended."""
        if self._detokenizer is not None:
            self._write(self._detokenizer.flush())
        if self._stream:
            click.echo()

    def _write(self, piece: str) -> None:
        if self._stream and piece:
            click.echo(piece, nl=False)
            sys.stdout.flush()


def _as_json(message: str, turn: Turn) -> dict[str, object]:
    return {
        "message": message,
        "text": turn.text,
        "token_ids": turn.tokens,
        "prompt_tokens": turn.prompt_tokens,
        "reused_tokens": turn.reused_tokens,
        "new_tokens": len(turn.tokens),
        "dropped_turns": turn.dropped_turns,
        "stop_reason": turn.stop_reason,
        "prefill_seconds": turn.prefill_seconds,
        "decode_seconds": turn.decode_seconds,
        "tokens_per_second": turn.tokens_per_second,
    }


def _summary(turn: Turn) -> str:
    return (
        f"{turn.prompt_tokens} tokens before it, {turn.reused_tokens} of them kept, {len(turn.tokens)} new at "
        f"{turn.tokens_per_second:.1f} tokens/s, stopped by {turn.stop_reason}"
    )
