"""Options of the commands that write text: how tokens are chosen, and what the session keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from pocketlora_export.cli.values import FiniteFloatRange
from pocketlora_export.runtime import Sampling
from pocketlora_export.runtime.session import CACHE_DTYPES, COMPUTES

F = TypeVar("F", bound=Callable[..., Any])


def sampling_options(function: F) -> F:
    """`--temperature`, `--top-p`, `--top-k`, `--min-p`, `--repetition-penalty`, `--seed`."""
    return _apply(
        function,
        click.option(
            "--temperature",
            type=FiniteFloatRange(min=0),
            default=0.0,
            show_default=True,
            help="0 = always the likeliest token.",
        ),
        click.option("--top-p", type=FiniteFloatRange(0, 1, min_open=True), default=1.0, show_default=True),
        click.option(
            "--top-k",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Keep the most probable tokens; 0 = all.",
        ),
        click.option(
            "--min-p",
            type=FiniteFloatRange(0, 1),
            default=0.0,
            show_default=True,
            help="Keep tokens at least so probable, as a share of the most probable one.",
        ),
        click.option(
            "--repetition-penalty",
            type=FiniteFloatRange(min=0, min_open=True),
            default=1.0,
            show_default=True,
            help="Makes tokens of the text so far less likely; 1 = off.",
        ),
        click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True),
    )


def session_options(function: F) -> F:
    """`--context-length`, `--cache-dtype`, `--compute`."""
    return _apply(
        function,
        click.option(
            "--context-length",
            type=click.IntRange(min=1),
            help="Tokens that prompt and answer may have together.  [default: the bundle's max_seq_len]",
        ),
        click.option(
            "--cache-dtype",
            type=click.Choice(CACHE_DTYPES[:3]),
            default="fp32",
            show_default=True,
            help="How keys and values of past tokens are kept: fp16 takes half of fp32's memory, int8 about a quarter.",
        ),
        click.option(
            "--compute",
            type=click.Choice(COMPUTES),
            default="auto",
            show_default=True,
            help="Products of prompts and new tokens: fp32, int16 (about 6e-5 off), int8 (about 1 % off), bf16 "
            "(0.3 % off where the CPU multiplies matrices of bf16; elsewhere int16), or the faster of the first two "
            "here.",
        ),
    )


def sampling(options: dict[str, Any], max_new_tokens: int) -> Sampling:
    """What `sampling_options` say."""
    names = ("temperature", "top_p", "seed", "top_k", "min_p", "repetition_penalty")
    return Sampling(max_new_tokens, **{name: options[name] for name in names})


def session_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What `session_options` say, as Session takes it."""
    return {
        "context_length": options["context_length"] or 0,
        "cache_dtype": options["cache_dtype"],
        "compute": options["compute"],
    }


def _apply(function: F, *decorators: Callable[[F], F]) -> F:
    return reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)
