"""`eval` and `generate`: figures that add up, text that is what the tokens say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.cli.conftest import TEXTS, Cli, write_rows
from tests.support.bundles import Bundled
from tests.support.tolerance import EPS


def summed(n: int) -> float:
    """Relative error of a float32 sum of n values of one sign against the exact one."""
    return n * EPS


def test_logprobs_add_up_to_the_loss(call: Cli, tiny_bundle: Bundled, text_rows: Path) -> None:
    result = call("eval", tiny_bundle.bundle, "--data", text_rows, "--logprobs", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"loss", "perplexity", "tokens", "rows"}
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    assert [row["token_ids"] for row in found["rows"]] == [[*tokenizer.encode(text).ids, 2] for text in TEXTS]
    assert all(row["logprobs"][0] is None for row in found["rows"])
    logprobs = [value for row in found["rows"] for value in row["logprobs"][1:]]
    assert all(value < 0 for value in logprobs)
    assert found["tokens"] == len(logprobs)
    assert found["loss"] == pytest.approx(-math.fsum(logprobs) / len(logprobs), rel=summed(len(logprobs)))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_masked_tokens_have_logprobs_but_no_loss(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]
    data = write_rows(tmp_path / "chat.jsonl", {"messages": messages})
    masked = json.loads(call("eval", tiny_bundle.bundle, "--data", data, "--logprobs", "--json").stdout)
    whole = json.loads(call("eval", tiny_bundle.bundle, "--data", data, "--json", "--train-on-prompt").stdout)
    (row,) = masked["rows"]
    # The test template ends a turn with EOS: "yes" is three bytes and EOS.
    assert masked["tokens"] == 4
    assert masked["loss"] == pytest.approx(-math.fsum(row["logprobs"][-4:]) / 4, rel=summed(4))
    bound = summed(whole["tokens"])
    assert whole["tokens"] == len(row["token_ids"]) - 1
    assert whole["loss"] == pytest.approx(-math.fsum(row["logprobs"][1:]) / whole["tokens"], rel=bound)


def test_an_adapter_changes_the_loss(call: Cli, tiny_bundle: Bundled, text_rows: Path, trained: Path) -> None:
    base = json.loads(call("eval", tiny_bundle.bundle, "--data", text_rows, "--json").stdout)
    adapted = json.loads(call("eval", tiny_bundle.bundle, "--data", text_rows, "--json", "--adapter", trained).stdout)
    assert adapted["loss"] < base["loss"]


def test_the_report_for_people(call: Cli, tiny_bundle: Bundled, text_rows: Path) -> None:
    found = json.loads(call("eval", tiny_bundle.bundle, "--data", text_rows, "--json").stdout)
    result = call("eval", tiny_bundle.bundle, "--data", text_rows, "--logprobs")
    *rows, summary = result.stdout.splitlines()
    assert summary == (f"loss {found['loss']:.6f}  perplexity {found['perplexity']:.4f}  over {found['tokens']} tokens")
    assert len(rows) == found["tokens"] + len(TEXTS)
    assert rows[0] == "row 1\t0\t1\t-"


def generated(call: Cli, bundle: Path, *arguments: object) -> dict[str, object]:
    result = call("generate", bundle, "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_streamed_text_is_the_text_of_the_tokens(call: Cli, tiny_bundle: Bundled) -> None:
    arguments = ("--prompt", "hello", "--max-new-tokens", 20, "--temperature", 1.0, "--seed", 3)
    found = generated(call, tiny_bundle.bundle, *arguments)
    streamed = call("generate", tiny_bundle.bundle, *arguments)
    assert streamed.stdout == f"{found['text']}\n"
    assert "prompt tokens" in streamed.stderr
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    prompt = tokenizer.encode("hello").ids
    ids = found["token_ids"]
    assert isinstance(ids, list)
    assert found["prompt_tokens"] == len(prompt)
    assert found["new_tokens"] == len(ids) == 20 or found["stop_reason"] == "stop_token"
    # Broken bytes may be grouped in another way when they are decoded at once.
    assert str(found["text"]).replace("\ufffd", "") == tokenizer.decode(ids).replace("\ufffd", "")


def test_the_seed_and_the_adapter_decide_what_is_written(call: Cli, tiny_bundle: Bundled, trained: Path) -> None:
    def tokens(*arguments: object) -> object:
        common = ("--prompt", "the cat", "--max-new-tokens", 24)
        return generated(call, tiny_bundle.bundle, *common, *arguments)["token_ids"]

    greedy = tokens()
    assert greedy == tokens("--seed", 5) == tokens("--temperature", 0, "--top-p", 0.5)
    assert tokens("--adapter", trained) != greedy
    sampled = tokens("--temperature", 1.5, "--seed", 1)
    assert sampled == tokens("--temperature", 1.5, "--seed", 1)
    assert sampled != tokens("--temperature", 1.5, "--seed", 2)
    # A nucleus that is too small for a second token is greedy.
    assert tokens("--temperature", 1.5, "--top-p", 1e-6) == greedy


def test_chat_uses_the_template(call: Cli, tiny_bundle: Bundled) -> None:
    arguments = ("--prompt", "hi", "--max-new-tokens", 1, "--chat", "--system", "be kind")
    found = generated(call, tiny_bundle.bundle, *arguments)
    rendered = "[system]be kind</s>[user]hi</s>[assistant]"
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    assert found["prompt_tokens"] == 1 + len(tokenizer.encode(rendered, add_special_tokens=False).ids)


def test_tokens_default_to_what_the_context_leaves(call: Cli, tiny_bundle: Bundled) -> None:
    prompt = "x" * (tiny_bundle.tiny.max_len - 5)
    found = generated(call, tiny_bundle.bundle, "--prompt", prompt)
    assert found["new_tokens"] == 4 or found["stop_reason"] == "stop_token"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prompt", "x" * 200), "the prompt has 201 tokens"),
        (("--prompt", "x", "--max-new-tokens", 95), "the prompt has 2 tokens and 95 more are to be written"),
        (("--prompt", "x", "--system", "y"), "--system needs --chat"),
    ],
)
def test_prompts_that_do_not_fit(call: Cli, tiny_bundle: Bundled, arguments: tuple[object, ...], words: str) -> None:
    result = call("generate", tiny_bundle.bundle, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
