"""`generate` with other caches and contexts: what the options change, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.support.bundles import Bundled

PROMPT = ("--prompt", "hello", "--max-new-tokens", 12)


def generated(call: Cli, bundled: Bundled, *arguments: object) -> dict[str, Any]:
    result = call("generate", bundled.bundle, "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("cache_dtype", ["fp32", "fp16", "int8"])
def test_a_token_takes_what_the_format_says(call: Cli, tiny_bundle: Bundled, cache_dtype: str) -> None:
    tiny = tiny_bundle.tiny
    found = generated(call, tiny_bundle, *PROMPT, "--cache-dtype", cache_dtype)
    # docs/stages.md: a head is D values, with int8 behind a scale of four bytes; keys and values in every layer.
    head = {"fp32": 4 * tiny.head_dim, "fp16": 2 * tiny.head_dim, "int8": tiny.head_dim + 4}[cache_dtype]
    assert found["cache_dtype"] == cache_dtype
    assert found["cache_bytes_per_token"] == 2 * tiny.layers * tiny.kv_heads * head
    assert found["context_length"] == tiny.max_len
    assert found["new_tokens"] == 12 or found["stop_reason"] == "stop_token"


def test_the_default_is_fp32(call: Cli, tiny_bundle: Bundled) -> None:
    plain, asked = (generated(call, tiny_bundle, *PROMPT, *more) for more in ((), ("--cache-dtype", "fp32")))
    assert plain["cache_dtype"] == "fp32"
    assert plain["token_ids"] == asked["token_ids"]


def test_a_shorter_context_writes_the_same(call: Cli, tiny_bundle: Bundled) -> None:
    whole = generated(call, tiny_bundle, *PROMPT)
    # "hello" is BOS and five bytes.
    found = generated(call, tiny_bundle, *PROMPT, "--context-length", 18)
    assert found["context_length"] == 18
    assert found["token_ids"] == whole["token_ids"]


def test_a_context_bounds_what_is_written(call: Cli, tiny_bundle: Bundled) -> None:
    found = generated(call, tiny_bundle, "--prompt", "hello", "--context-length", 10)
    assert found["new_tokens"] == 4 or found["stop_reason"] == "stop_token"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--context-length", 17, *PROMPT), 2, "6 tokens and 12 more are to be written; --context-length allows 17"),
        (("--context-length", 5, "--prompt", "hello"), 2, "--context-length allows 5 together"),
        (("--context-length", 0, *PROMPT), 2, "Invalid value for '--context-length'"),
        (("--cache-dtype", "int4", *PROMPT), 2, "Invalid value for '--cache-dtype'"),
        (("--cache-dtype", "auto", *PROMPT), 2, "Invalid value for '--cache-dtype'"),
    ],
)
def test_what_is_refused(call: Cli, tiny_bundle: Bundled, arguments: tuple[object, ...], code: int, words: str) -> None:
    result = call("generate", tiny_bundle.bundle, *arguments)
    assert result.exit_code == code
    assert words in result.stderr


def test_a_context_beyond_the_bundle_is_refused(call: Cli, tiny_bundle: Bundled) -> None:
    longer = tiny_bundle.tiny.max_len + 1
    result = call("generate", tiny_bundle.bundle, *PROMPT, "--context-length", longer)
    assert result.exit_code == 2
    assert str(longer) in result.stderr
    assert str(tiny_bundle.tiny.max_len) in result.stderr
