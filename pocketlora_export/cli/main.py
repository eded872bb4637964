"""`pocketlora-export`: the command group. A subcommand's module is imported only when that command runs."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import click
from typing_extensions import override

from pocketlora_export import __version__
from pocketlora_export.cli import console
from pocketlora_export.errors import PocketLoraError, Status, status_of_os_error

# name -> one line of help. The module is pocketlora_export.cli.<name>, its click command the attribute `command`.
COMMANDS: dict[str, str] = {
    "plan": "Say what training and inference will take, from a model's config alone.",
    "bundle": "Turn a Hugging Face model into a bundle: 4-bit base, programs, manifest, tokenizer.",
    "coverage": "Say what of each stage runs in delegates, in our kernels, or in portable ones.",
    "inspect": "Show what a bundle holds.",
    "verify": "Check every checksum of a bundle or of a training run's folder, and what their files say.",
    "data": "Turn data sets into rows for training.",
    "train": "Train a LoRA adapter on a bundle with the C++ runtime.",
    "eval": "Loss, perplexity and log-probabilities of text rows.",
    "generate": "Write text with a bundle and, if given, an adapter.",
    "chat": "Talk to a bundle: a conversation of many turns.",
    "report": "What a training left behind, for other tools.",
    "adapter": "Import, export, merge, inspect and compare adapters.",
    "dequantize": "Write a bundle's base back as an ordinary Hugging Face folder.",
    "demo": "The whole chain on the model that ships with the project.",
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name, and turns every expected failure into a message and an exit code."""

    def __init__(
        self,
        *args: Any,
        table: dict[str, str] = COMMANDS,
        module: str = "pocketlora_export.cli.{}",
        **kwargs: Any,
    ) -> None:
        """`table`: name -> one line of help; `module`: where the click command `command` of a name is."""
        super().__init__(*args, **kwargs)
        self._table = table
        self._module = module

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of use."""
        return list(self._table)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is no such command."""
        if cmd_name not in self._table:
            return None
        module = importlib.import_module(self._module.format(cmd_name))
        command: click.Command = module.command
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; exit with the code that docs/errors.md gives to its failure."""
        try:
            return super().invoke(ctx)
        except PocketLoraError as error:
            fail(error)
        except (KeyboardInterrupt, click.Abort) as interruption:
            console.report_interrupt(str(interruption))
            raise SystemExit(INTERRUPTED) from None
        except click.UsageError as error:
            if console.json_output():
                console.print_error_event(Status.INVALID_ARGUMENT, error.format_message())
            raise
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(PocketLoraError(status_of_os_error(error), str(error)))


def fail(error: PocketLoraError) -> NoReturn:
    """Report one failure on stderr (and as an event with --json) and exit with its code."""
    console.report_error(error)
    raise SystemExit(error.status.exit_code)


@click.group(
    cls=LazyGroup,
    # Options may be written with - or _; subcommands inherit this.
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
    epilog="Run 'pocketlora-export COMMAND --help' for the options and an example of each command.",
)
@click.version_option(__version__, prog_name="pocketlora-export")
def cli() -> None:
    """Fine-tune language models on a phone: from a Hugging Face folder to adapters trained in C++."""


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="pocketlora-export")
