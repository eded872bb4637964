"""A data file as encoded rows that are ready to pack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.jsonl import SourceRow, read_rows
from pocketlora_export.data.preference_rows import Preference, TextPair, TokenPair
from pocketlora_export.data.problems import Problems
from pocketlora_export.errors import Status


@dataclass(frozen=True)
class RowOptions:
    """How rows become tokens: what the bundle allows, and the two switches of the command line.

    `max_segments` is of a packed row, `vocab_size` of a row of tokens. `preferences`: pairs of answers are expected,
    each of them at most `max_tokens` long; else there are none.
    """

    max_tokens: int
    truncate: bool = False
    train_on_prompt: bool = False
    max_segments: int | None = None
    vocab_size: int | None = None
    preferences: bool = False


@dataclass(frozen=True)
class Dataset:
    """The rows of one file, in file order, and how many of them were cut."""

    path: Path
    rows: list[Encoded]
    truncated: int

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(row.tokens) for row in self.rows)


def load_dataset(path: Path, coder: TextCoder, options: RowOptions) -> Dataset:
    """Read and encode a file. Raises one error that names file:line of every row that cannot be used."""
    problems = Problems(path)
    rows: list[Encoded] = []
    truncated = 0
    for source in read_rows(path, problems):
        try:
            _check_kind(source, options)
            answers = _encoded(source, coder, options)
        except ValueError as error:
            problems.add(source.line, str(error))
            continue
        too_long = any(len(row.tokens) > options.max_tokens for row in answers)
        if too_long and options.truncate:
            answers, truncated = [row.truncated(options.max_tokens) for row in answers], truncated + 1
        if all(_check(source.line, row, options, problems) for row in answers):
            rows.append(answers[0] if len(answers) == 1 else Encoded.together(*answers))
    problems.raise_if_any()
    return Dataset(path, rows, truncated)


def encode_row(source: SourceRow, coder: TextCoder, *, train_on_prompt: bool = False) -> Encoded:
    """Tokens and labels of a row by its kind. Raises ValueError when the chat template refuses it."""
    if source.encoded is not None:
        return source.encoded
    if source.text is not None:
        return coder.encode_text(source.text)
    if source.pair is not None:
        return coder.encode_pair(*source.pair, train_on_prompt=train_on_prompt)
    if source.segments is not None:
        return coder.encode_segments(source.segments, train_on_prompt=train_on_prompt)
    return coder.encode_messages(source.messages or (), train_on_prompt=train_on_prompt)


def encode_preference(pair: Preference, coder: TextCoder) -> list[Encoded]:
    """The chosen and the rejected answer, each behind the prompt; labels are the answers."""
    if isinstance(pair, TokenPair):
        return [pair.chosen, pair.rejected]
    if isinstance(pair, TextPair):
        return [coder.encode_pair(pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]
    turns = len(pair.prompt)
    return [coder.encode_messages(pair.prompt + end, prompt_turns=turns) for end in (pair.chosen, pair.rejected)]


def _encoded(source: SourceRow, coder: TextCoder, options: RowOptions) -> list[Encoded]:
    """What a row is made of: itself, or two answers."""
    if source.preference is not None:
        return encode_preference(source.preference, coder)
    return [encode_row(source, coder, train_on_prompt=options.train_on_prompt)]


def _check_kind(source: SourceRow, options: RowOptions) -> None:
    if source.preference is None and options.preferences:
        raise ValueError("expected a row of a preference, with 'chosen' and 'rejected' (--loss dpo)")
    if source.preference is not None and not options.preferences:
        raise ValueError("a row of a preference, with 'chosen' and 'rejected': only train --loss dpo takes it")


def _check(line: int, row: Encoded, options: RowOptions, problems: Problems) -> bool:
    """Whether the row can be used; else it is added to the problems."""
    before = len(problems.lines)
    length = len(row.tokens)
    if length > options.max_tokens:
        message = (
            f"the row has {length} tokens, the bundle was exported for at most {options.max_tokens}; "
            "split it, or use --truncate"
        )
        problems.add(line, message, Status.SEQUENCE_TOO_LONG)
    elif length < 2:
        problems.add(line, f"expected at least 2 tokens, found {length}")
    elif not row.has_target():
        problems.add(line, "no token to learn from: expected an assistant turn (or --train-on-prompt)")
    elif options.max_segments is not None and len(row.segments) > options.max_segments:
        message = f"{len(row.segments)} rows are packed into one, the bundle was exported for at most "
        problems.add(line, f"{message}{options.max_segments}")
    elif options.vocab_size is not None and row.tokens.max() >= options.vocab_size:
        message = f"expected tokens from 0 to {options.vocab_size - 1}, found {row.tokens.max()}"
        problems.add(line, message)
    return len(problems.lines) == before
