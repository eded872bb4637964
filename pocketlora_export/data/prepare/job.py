"""`data prepare`: read, judge, split, write; all of it appears at once or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocketlora_export import __version__
from pocketlora_export.bundle.files import new_folder
from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.process import DUPLICATE, NEAR, REASONS
from pocketlora_export.data.prepare.reading import Progress, Read, read_all
from pocketlora_export.data.prepare.source import find_files
from pocketlora_export.data.prepare.split import first_of_each, split_of
from pocketlora_export.data.prepare.statistics import summary
from pocketlora_export.data.prepare.templates import SPELLED
from pocketlora_export.data.prepare.tokenizer import OpenTokenizer, TokenizerSource, open_tokenizer
from pocketlora_export.data.prepare.writing import Verdict, Written, write_all
from pocketlora_export.data.problems import SHOWN
from pocketlora_export.errors import PocketLoraError, Status

STATS = "stats.json"
REJECTED = "rejected.jsonl"
FORMAT = "pocketlora-data 1"


def prepare(
    inputs: Sequence[Path],
    output: Path,
    options: PrepareOptions,
    source: TokenizerSource | None,
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Write train.jsonl, valid.jsonl, test.jsonl, rejected.jsonl, removed.jsonl and stats.json; return the last.

    Raises:
        PocketLoraError: INVALID_ARGUMENT for options or an output that cannot be; INPUT_MISSING; INPUT_MALFORMED when
            more than the allowed share of rows cannot be used, or none is left; what reading or writing raises.
            Nothing is written then.
    """
    options.check(has_tokenizer=source is not None)
    files = find_files(inputs)
    _check_apart(inputs, files, output)
    tokenizer = None if source is None else open_tokenizer(source)
    options = effective(options, tokenizer)
    with new_folder(output, STATS, force) as folder:
        work = folder / ".work"
        work.mkdir()
        read = read_all(files, work, folder / REJECTED, options, source, progress)
        _check_share(read, options)
        verdict = _judge(read, options, progress)
        written = write_all(read, verdict, folder, options, progress)
        stats = _stats(read, verdict, written, options, tokenizer)
        if not stats["rows"]["written"]:
            removed = ", ".join(f"{count} {reason}" for reason, count in stats["rows"]["removed"].items()) or "none"
            raise PocketLoraError(Status.INPUT_MALFORMED, f"no row is left: {read.rows} were read; removed: {removed}")
        (folder / STATS).write_text(json.dumps(stats, indent=1, ensure_ascii=True) + "\n", "utf-8")
        shutil.rmtree(work)
    return stats


def effective(options: PrepareOptions, tokenizer: OpenTokenizer | None) -> PrepareOptions:
    """The options within what a row of tokens, a packed row and the bundle can hold.

    Raises INVALID_ARGUMENT when rows are to be packed beyond what the bundle can take.
    """
    if tokenizer is None:
        return options
    limit = tokenizer.max_tokens
    problems = []
    for name, asked in (("--pack", options.pack), ("--max-tokens", options.max_tokens)):
        if asked is not None and limit is not None and asked > limit:
            problems.append(f"{name} {asked}: the bundle was exported for rows of at most {limit} tokens")
    if problems:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "\n".join(problems))
    limits = [value for value in (options.max_tokens, options.pack, limit) if value is not None]
    segments = min(options.max_segments, tokenizer.max_segments or options.max_segments)
    return dataclasses.replace(options, max_tokens=min(limits, default=None), max_segments=segments)


def missing_marks(options: PrepareOptions, tokenizer: OpenTokenizer) -> list[str]:
    """Tokens that the template spells and the tokenizer does not know: it writes them in pieces."""
    known = tokenizer.coder.tokenizer
    return [mark for mark in SPELLED.get(options.template, ()) if known.token_to_id(mark) is None]


def _check_apart(inputs: Sequence[Path], files: Sequence[Path], output: Path) -> None:
    final = output.resolve()
    folders = [
        path for path in inputs if path.is_dir() and (path.resolve() == final or path.resolve() in final.parents)
    ]
    within = [path for path in files if final in path.resolve().parents]
    if folders or within:
        found = (folders or within)[0]
        message = f"output {output}: expected a folder apart from the inputs, found {found} in the way"
        raise PocketLoraError(Status.INVALID_ARGUMENT, message)


def _check_share(read: Read, options: PrepareOptions) -> None:
    total = read.rows + read.bad
    if not total:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{', '.join(str(f.path) for f in read.files[:5])}: no rows")
    if read.bad <= options.max_bad_share * total:
        return
    more = [f"  ... and {read.bad - SHOWN} more"] if read.bad > SHOWN else []
    headline = (
        f"{read.bad} of {total} rows cannot be used, which is more than --max-bad-share {options.max_bad_share:g}; "
        f"nothing was written (with --max-bad-share 1 they are skipped, and all listed in {REJECTED}):"
    )
    raise PocketLoraError(
        Status.INPUT_MALFORMED, "\n".join([headline, *(f"  - {problem}" for problem in read.problems), *more])
    )


def _judge(read: Read, options: PrepareOptions, progress: Progress) -> Verdict:
    """Which rows stay, and where they go."""
    reasons = np.asarray(read.column("reason"), dtype=np.uint8)
    keys = np.asarray(read.column("key"), dtype=np.uint64)
    leaders = first_of_each(keys, reasons == 0) if options.duplicates else np.arange(read.rows, dtype=np.int64)
    reasons[leaders != np.arange(read.rows)] = DUPLICATE
    splits = split_of(keys, options.seed, options.valid_share, options.test_share)
    if read.near is not None:
        similar = read.near.find(reasons == 0, lambda done: progress("comparing", done, read.rows, done))
        repeats = similar != np.arange(read.rows)
        if options.near == "remove":
            reasons[repeats] = NEAR
            leaders[repeats] = similar[repeats]
        else:
            splits[repeats] = splits[similar[repeats]]
    return Verdict(reasons, leaders, splits)


def _stats(
    read: Read, verdict: Verdict, written: Written, options: PrepareOptions, tokenizer: OpenTokenizer | None
) -> dict[str, Any]:
    counts = np.bincount(verdict.reasons, minlength=len(REASONS)).tolist()
    lines = sum(part.lines for part in written.parts)
    tokens = sum(part.tokens for part in written.parts)
    packed = None
    if options.pack is not None and lines:
        rows = sum(part.rows for part in written.parts)
        packed = {"length": options.pack, "lines": lines, "rows_per_line": round(rows / lines, 2)}
        packed["filled"] = round(tokens / (lines * options.pack), 4)
    return {
        "format": FORMAT,
        "version": __version__,
        "options": options.as_json(),
        "tokenizer": None if tokenizer is None else {"sha256": tokenizer.sha256},
        "inputs": [
            {"file": str(f.path), "format": f.format, "bytes": f.size, "sha256": f.sha256, "rows": f.rows, "bad": f.bad}
            for f in read.files
        ],
        "rows": {
            "read": read.rows + read.bad,
            "bad": read.bad,
            "removed": {REASONS[reason]: count for reason, count in enumerate(counts) if reason and count},
            "written": counts[0],
        },
        "kinds": written.kinds,
        "splits": {
            part.name: part.as_json(tokens=tokenizer is not None, labels=options.tokens) for part in written.parts
        },
        "packed": packed,
        "characters": summary(np.concatenate(written.chars)) if written.chars else None,
        "tokens": None if tokenizer is None or not written.tokens else summary(np.concatenate(written.tokens)),
    }
