"""`generate`: text from a bundle, by the C++ runtime, written as it is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_weights import adapters_option
from pocketlora_export.cli.generation_options import sampling, sampling_options, session_arguments, session_options
from pocketlora_export.cli.options import bundle_argument, opened_adapters, runtime_options
from pocketlora_export.cli.values import TEXT, OptionsCommand, StopString
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.detokenizer import Detokenizer
from pocketlora_export.data.stop_text import StopText
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Generation, Session, SessionInfo

DEFAULT_NEW_TOKENS = 128


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExample:\n"
    '  pocketlora-export generate out/bundle --prompt "Once upon a time" --max-new-tokens 60\n'
    '  pocketlora-export generate out/bundle --adapter out/notes-adapter --chat --prompt "Hello" --temperature 0.7\n'
    '  pocketlora-export generate out/bundle --adapter out/notes:0.7 --adapter out/log:0.3 --prompt "Dear"\n\n'
    "The text is streamed to stdout; --json prints one object at the end instead.",
)
@bundle_argument
@click.option(
    "-p", "--prompt", type=TEXT, required=True, help="Text to continue; '-': read it from stdin; empty: from the start."
)
@click.option("--chat", is_flag=True, help="Put the prompt into the bundle's chat template as the user's turn.")
@click.option("--system", type=TEXT, help="System message for --chat.")
@adapters_option
@click.option(
    "--adapter-fallback",
    is_flag=True,
    help="When an adapter cannot be loaded, let the bare base answer, with a warning.",
)
@click.option(
    "--stop",
    "stops",
    type=StopString(),
    multiple=True,
    help="A string before which the text ends; repeat for more. No part of it is printed.",
)
@click.option(
    "--max-new-tokens",
    "--max-tokens",
    type=click.IntRange(min=1),
    help=f"Tokens to write.  [default: {DEFAULT_NEW_TOKENS}, or what the context leaves]",
)
@sampling_options
@session_options
@runtime_options
@console.json_option("Print one JSON object at the end instead of streaming the text.")
def command(bundle: Path, prompt: str, as_json: bool, **options: Any) -> None:
    """Continue a prompt, or answer it with --chat, on BUNDLE."""
    text = _standard_input() if prompt == "-" else prompt
    with Engine(bundle, backend=options["backend"], num_threads=options["threads"]) as engine:
        coder = TextCoder.from_bundle(bundle, engine.facts.manifest)
        ids = _prompt_ids(coder, text, options["chat"], options["system"])
        context = options["context_length"] or engine.facts.max_seq_len
        chosen = options["context_length"] is not None
        how = sampling(options, _new_tokens(options["max_new_tokens"], len(ids), context, chosen))
        fallback = options["adapter_fallback"]
        opened = opened_adapters(engine, options["adapters"], fall_back=fallback)
        with opened as adapters, Session(engine, **session_arguments(options)) as session:
            session.set_adapters(adapters)
            fell_back = len(adapters) < len(options["adapters"])
            writer = _Writer(Detokenizer(coder.tokenizer, ids), StopText(options["stops"]), stream=not as_json)
            generation = session.generate(ids, how, writer.push)
            info = session.info()
    writer.finish()
    if as_json:
        told = {"adapter_fallback": fell_back} if fallback else {}
        console.print_json(_as_json(text, writer, generation, info) | told)
    else:
        _note(generation, writer.stop_reason(generation))
        _note_compute(info)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"0x{error.object[error.start]:02x} at byte {error.start + 1}"
        message = f"--prompt -: expected UTF-8 text on stdin, found {found}"
        raise PocketLoraError(Status.INVALID_ARGUMENT, message) from None


def _prompt_ids(coder: TextCoder, text: str, chat: bool, system: str | None) -> list[int]:
    if system is not None and not chat:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "--system needs --chat")
    if chat:
        messages = [] if system is None else [{"role": "system", "content": system}]
        ids = coder.encode_chat_prompt([*messages, {"role": "user", "content": text}])
    else:
        ids = coder.encode_prompt(text)
    if not ids:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "--prompt: expected at least one token, found an empty text")
    return ids


def _new_tokens(asked: int | None, prompt_tokens: int, context: int, chosen: bool) -> int:
    """How many tokens to write. Raises SEQUENCE_TOO_LONG when prompt and answer exceed the context."""
    wanted = 1 if asked is None else asked
    if prompt_tokens + wanted > context:
        limit = (
            f"--context-length allows {context} together"
            if chosen
            else f"the bundle was exported for at most {context} together (--max-seq-len of 'bundle')"
        )
        message = f"the prompt has {prompt_tokens} tokens and {wanted} more are to be written; {limit}"
        raise PocketLoraError(Status.SEQUENCE_TOO_LONG, message)
    return asked if asked is not None else min(DEFAULT_NEW_TOKENS, context - prompt_tokens)


class _Writer:
    """Turns tokens into text as they come, and writes it out when streaming."""

    def __init__(self, detokenizer: Detokenizer, stop: StopText, *, stream: bool) -> None:
        self.text = ""
        self._stop = stop
        self._detokenizer = detokenizer
        self._stream = stream

    def push(self, token: int) -> bool:
        """One more token. False when a stop string has ended the text."""
        self._write(self._stop.push(self._detokenizer.push(token)))
        return self._stop.found is None

    def finish(self) -> None:
        """The last token has come."""
        self._write(self._stop.push(self._detokenizer.flush()))
        self._write(self._stop.flush())
        if self._stream:
            click.echo()

    def stop_reason(self, generation: Generation) -> str:
        """Why the text ended."""
        return generation.stop_reason if self._stop.found is None else "stop_string"

    def _write(self, piece: str) -> None:
        self.text += piece
        if self._stream and piece:
            click.echo(piece, nl=False)
            sys.stdout.flush()


def _as_json(prompt: str, writer: _Writer, generation: Generation, info: SessionInfo) -> dict[str, object]:
    return {
        "prompt": prompt,
        "text": writer.text,
        "token_ids": generation.tokens,
        "prompt_tokens": generation.prompt_tokens,
        "new_tokens": len(generation.tokens),
        "stop_reason": writer.stop_reason(generation),
        "prefill_seconds": generation.prefill_seconds,
        "decode_seconds": generation.decode_seconds,
        "tokens_per_second": generation.tokens_per_second,
        "context_length": info.context_length,
        "cache_dtype": info.cache_dtype,
        "cache_bytes_per_token": info.bytes_per_token,
        "cache_resident": info.cache_resident,
        "compute": info.compute,
        "decode_compute": info.decode_compute,
        "prefill_compute": info.prefill_compute,
    }


def _note_compute(info: SessionInfo) -> None:
    """Where this machine computes in something else than was asked for."""
    for rows, compute in (("at most 16", info.decode_compute), ("more", info.prefill_compute)):
        if compute != info.compute:
            console.note(f"{info.compute} is computed as {compute} on this machine for {rows} rows")


def _note(generation: Generation, stop_reason: str) -> None:
    console.note(
        f"{generation.prompt_tokens} prompt tokens in {generation.prefill_seconds:.2f} s, {len(generation.tokens)} new "
        f"at {generation.tokens_per_second:.1f} tokens/s, stopped by {stop_reason}"
    )
