"""`data prepare`: data sets as they come to the files that `train` and `eval` read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.options import PATH
from pocketlora_export.cli.values import TEXT, FiniteFloatRange, KeyValues, OptionsCommand
from pocketlora_export.data.prepare.clean import FORMS
from pocketlora_export.data.prepare.job import REJECTED, missing_marks, prepare
from pocketlora_export.data.prepare.options import KINDS, PrepareOptions
from pocketlora_export.data.prepare.sample import FIELDS
from pocketlora_export.data.prepare.templates import TEMPLATES
from pocketlora_export.data.prepare.tokenizer import TokenizerSource, open_tokenizer
from pocketlora_export.errors import PocketLoraError, Status

COUNT = click.IntRange(min=1)
SHARE = FiniteFloatRange(0, 1)


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExamples:\n"
    "  pocketlora-export data prepare notes.jsonl -o out/data --bundle out/bundle\n"
    "  pocketlora-export data prepare faq.csv -o out/data --map question=Frage,answer=Antwort --template alpaca\n"
    "  pocketlora-export data prepare chats/ -o out/data --bundle out/bundle --near-duplicates remove --pack 512\n"
    "  pocketlora-export train out/bundle --data out/data/train.jsonl --valid out/data/valid.jsonl -o out/notes\n\n"
    'Rows are {"text"}, {"question", "answer"}, {"instruction", "input", "output"}, {"prompt", "completion"} or '
    '{"messages"}, in JSON, JSON Lines or CSV. docs/data.md says what becomes of them. The output folder appears when '
    "it is complete; Ctrl-C before that leaves nothing.",
)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="Folder for train.jsonl, valid.jsonl, test.jsonl, …")
@click.option(
    "--kind",
    type=click.Choice(["auto", *KINDS]),
    default="auto",
    show_default=True,
    help="Kind of all rows; auto: by keys.",
)
@click.option(
    "--map", "mapping", type=KeyValues(FIELDS), multiple=True, metavar="KEY=NAME,...",
    help="Keys or columns that have other names in the input, such as question=Frage.",
)  # fmt: skip
@click.option(
    "--template", type=click.Choice([*TEMPLATES, "phi"]), default="model", show_default=True,
    help="How conversations become text. model: rows of messages, for the bundle's own chat template; phi is phi-2.",
)  # fmt: skip
@click.option("--system", type=TEXT, help="System message of rows that bring none.")
@click.option("--bundle", type=PATH, help="Bundle whose tokenizer, chat template and longest row count.")
@click.option("--tokenizer", type=PATH, help="The same from a Hugging Face folder, without a longest row.")
@click.option("--clean/--no-clean", default=True, help="Control characters, line ends, white space.  [default: clean]")
@click.option(
    "--unicode", type=click.Choice(FORMS), default="nfc", show_default=True, help="Normal form, with --clean."
)
@click.option("--min-chars", type=COUNT, default=1, show_default=True, help="Remove rows that are shorter.")
@click.option("--max-chars", type=COUNT, help="Remove rows that are longer.")
@click.option("--min-tokens", type=COUNT, help="Remove rows that are shorter.  [default: 2]")
@click.option("--max-tokens", type=COUNT, help="Remove rows that are longer.  [default: what the bundle allows]")
@click.option("--keep-duplicates", is_flag=True, help="Keep rows whose text was there before.")
@click.option(
    "--near-duplicates", "near", type=click.Choice(["keep", "remove", "group"]), default="keep", show_default=True,
    help="Rows that nearly repeat another. group: keep them, in the part of the row that they repeat.",
)  # fmt: skip
@click.option(
    "--similarity", type=FiniteFloatRange(0.3, 1), default=0.8, show_default=True,
    help="Share of common runs of three words (Jaccard) from which a row is a near-duplicate.",
)  # fmt: skip
@click.option(
    "--valid-share", type=SHARE, default=0.05, show_default=True, help="Share of rows in valid.jsonl, by hash."
)
@click.option("--test-share", type=SHARE, default=0.05, show_default=True, help="Share of rows in test.jsonl, by hash.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the split.")
@click.option("--tokenize", is_flag=True, help="Write rows of tokens and labels, which pocketlora_run reads, too.")
@click.option("--pack", type=click.IntRange(min=2), metavar="TOKENS", help="Pack rows of tokens into lines this long.")
@click.option(
    "--max-segments", type=COUNT, default=64, show_default=True, help="Rows in a packed line; the bundle's if fewer."
)
@click.option(
    "--max-bad-share", type=SHARE, default=0.1, show_default=True,
    help="Share of rows that may be unusable; they are skipped and listed. More is an error.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default="one a core for large inputs", help="Processes."
)
@click.option("--force", is_flag=True, help="Replace an output folder of this command.")
@console.json_option("Print the statistics as one JSON object on stdout.")
def command(
    inputs: tuple[Path, ...],
    output: Path,
    mapping: tuple[dict[str, str], ...],
    bundle: Path | None,
    tokenizer: Path | None,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Turn INPUTS, files or folders, into rows for training."""
    values["duplicates"] = not values.pop("keep_duplicates")
    values["template"] = "phi-2" if values["template"] == "phi" else values["template"]
    options = PrepareOptions(mapping={key: name for pairs in mapping for key, name in pairs.items()}, **values)
    source = _source(bundle, tokenizer)
    if source is not None:
        _warn_of_marks(options, source)
    start = time.monotonic()
    with bar() as progress:

        def report(what: str, done: int, total: int, _: int) -> None:
            progress.report(what, done, total)

        stats = prepare(inputs, output, options, source, report, force=force)
    seconds = time.monotonic() - start
    if as_json:
        rate = round(stats["rows"]["read"] / seconds, 1)
        console.print_json({"output": str(output), "seconds": round(seconds, 3), "rows_per_second": rate, **stats})
    else:
        _print(stats, output, seconds)


def _source(bundle: Path | None, tokenizer: Path | None) -> TokenizerSource | None:
    if bundle is not None and tokenizer is not None:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "--bundle and --tokenizer: expected one of them, found both")
    if bundle is not None:
        return TokenizerSource(bundle, bundle=True)
    return None if tokenizer is None else TokenizerSource(tokenizer, bundle=False)


def _warn_of_marks(options: PrepareOptions, source: TokenizerSource) -> None:
    missing = missing_marks(options, open_tokenizer(source))
    if missing:
        what = f"the {options.template} template is written in pieces of it"
        console.warn(f"the tokenizer has no token {', '.join(missing)}: {what}")


def _print(stats: dict[str, Any], output: Path, seconds: float) -> None:
    rows = stats["rows"]
    click.echo(f"{rows['read']} rows in {seconds:.1f} s, {rows['read'] / seconds:.0f} a second")
    if rows["bad"]:
        click.echo(f"  {rows['bad']:>9} cannot be used: {output / REJECTED}")
    for reason, count in rows["removed"].items():
        click.echo(f"  {count:>9} removed: {reason}")
    for name, part in stats["splits"].items():
        if part["rows"]:
            tokens = f", {part['tokens']} tokens" if "tokens" in part else ""
            click.echo(f"  {part['rows']:>9} {name}{tokens}: {output / part['file']}")
    packed = stats["packed"]
    if packed is not None:
        click.echo(f"  packed into {packed['lines']} lines of {packed['length']} tokens, {packed['filled']:.1%} filled")
    for what in ("characters", "tokens"):
        if stats[what] is not None:
            found = stats[what]["percentiles"]
            click.echo(
                f"  {what} of a row: median {found['50']}, 95 % up to {found['95']}, longest {stats[what]['max']}"
            )
    empty = [name for name, part in stats["splits"].items() if not part["rows"] and _wanted(stats, name)]
    if empty:
        console.warn(f"no row fell into {', '.join(empty)}: there is no such file")


def _wanted(stats: dict[str, Any], name: str) -> bool:
    return bool(stats["options"].get(f"{name}_share", 1) > 0)
