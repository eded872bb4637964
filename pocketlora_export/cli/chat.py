"""`chat`: a conversation of many turns with a bundle, by the C++ runtime."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_weights import WeightedFolder, WeightedFolderType, adapters_option
from pocketlora_export.cli.chat_loop import ChatLoop, lines
from pocketlora_export.cli.generation_options import sampling, sampling_options, session_arguments, session_options
from pocketlora_export.cli.options import bundle_argument, opened_adapters, runtime_options
from pocketlora_export.cli.values import TEXT, OptionsCommand
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.plain_chat import PlainChat
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Session
from pocketlora_export.runtime.conversation import Conversation

DEFAULT_NEW_TOKENS = 256


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExamples:\n"
    '  pocketlora-export chat out/bundle --adapter out/notes-adapter --system "Answer in one sentence."\n'
    "  printf 'Who are you?\\nAnd why?\\n' | pocketlora-export chat out/bundle --json\n\n"
    "Each line is a message, typed or piped. /reset, /undo, /adapter FOLDER, /help and /exit are commands. Ctrl-C ends "
    "an answer, not the program. With a pipe the first problem ends it.",
)
@bundle_argument
@adapters_option
@click.option("--system", type=TEXT, help="System message: it stays when old turns are dropped.")
@click.option("--plain", is_flag=True, help="Use no chat template: the texts one after the other, as a base continues.")
@click.option(
    "--max-new-tokens",
    "--max-tokens",
    type=click.IntRange(min=1),
    default=DEFAULT_NEW_TOKENS,
    show_default=True,
    help="Tokens of an answer at most.",
)
@sampling_options
@session_options
@runtime_options
@console.json_option("Print one JSON object a turn instead of streaming the text.")
def command(bundle: Path, as_json: bool, **options: Any) -> None:
    """Talk to BUNDLE: what was said before is kept, and only what is new is computed."""
    with Engine(bundle, backend=options["backend"], num_threads=options["threads"]) as engine:
        coder = TextCoder.from_bundle(bundle, engine.facts.manifest)
        if not (options["plain"] or coder.has_chat_template):
            message = f"bundle {bundle} has no chat template; --plain talks to it without one"
            raise PocketLoraError(Status.INPUT_UNSUPPORTED, message)
        with Session(engine, **session_arguments(options)) as session:
            chat = Conversation(session, PlainChat(coder) if options["plain"] else coder, options["system"])
            _use(chat, engine, options["adapters"])
            how = sampling(options, options["max_new_tokens"])
            interactive = sys.stdin.isatty()
            loop = ChatLoop(
                chat,
                coder.tokenizer,
                how,
                lambda argument: _change(chat, engine, argument),
                as_json=as_json,
                interactive=interactive,
            )
            loop.run(lines(interactive))


def _use(chat: Conversation, engine: Engine, folders: Sequence[WeightedFolder]) -> None:
    # The session keeps what it uses; the handles may go.
    with opened_adapters(engine, folders) as adapters:
        chat.set_adapters(adapters)


def _change(chat: Conversation, engine: Engine, argument: str) -> None:
    """`/adapter`: to the base without an argument."""
    try:
        folders = [WeightedFolderType().convert(argument, None, None)] if argument else []
    except click.BadParameter as error:
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"/adapter: {error.message}") from None
    _use(chat, engine, folders)
    console.note(f"{argument} answers from now on" if argument else "the base answers from now on")
