"""Rows of a chosen and a rejected answer: what is read, which tokens are labels, every complaint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pocketlora_export.data.dataset import Dataset, RowOptions, load_dataset
from pocketlora_export.data.encoded import IGNORED, Encoded
from pocketlora_export.data.packing import PackLimits, pack
from pocketlora_export.errors import PocketLoraError, Status
from tests.data.test_coder import PLAIN, coder

USER = {"role": "user", "content": "Two plus two?"}
GOOD, BAD = {"role": "assistant", "content": "Four."}, {"role": "assistant", "content": "Five, I think."}
EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def load(tmp_path: Path, *rows: object, max_tokens: int = 200, truncate: bool = False) -> Dataset:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_dataset(path, coder(PLAIN), RowOptions(max_tokens, truncate, vocab_size=300, preferences=True))


def answers(row: Encoded) -> list[Encoded]:
    """The two rows that one stands for."""
    middle = row.lengths[0]
    assert len(row.lengths) == 2
    return [Encoded(row.tokens[:middle], row.labels[:middle]), Encoded(row.tokens[middle:], row.labels[middle:])]


def equal(a: Encoded, b: Encoded) -> bool:
    return np.array_equal(a.tokens, b.tokens) and np.array_equal(a.labels, b.labels)


def test_texts_are_two_rows_of_prompt_and_completion(tmp_path: Path) -> None:
    (row,) = load(tmp_path, {"prompt": "Q: 2+2? A:", "chosen": " four", "rejected": " five"}).rows
    chosen, rejected = answers(row)
    assert equal(chosen, coder().encode_pair("Q: 2+2? A:", " four"))
    assert equal(rejected, coder().encode_pair("Q: 2+2? A:", " five"))


def test_conversations(tmp_path: Path) -> None:
    """With the prompt apart, within both answers, and within both beside its text (UltraFeedback)."""
    forms = [
        {"prompt": [*EARLIER, USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [*EARLIER, USER, GOOD], "rejected": [*EARLIER, USER, BAD]},
        {"prompt": "Two plus two?", "chosen": [*EARLIER, USER, GOOD], "rejected": [*EARLIER, USER, BAD]},
    ]
    rows = load(tmp_path, *forms).rows
    assert equal(rows[0], rows[1])
    assert equal(rows[0], rows[2])
    for answer, last in zip(answers(rows[0]), (GOOD, BAD), strict=True):
        whole = coder(PLAIN).encode_messages([*EARLIER, USER, last])
        assert np.array_equal(answer.tokens, whole.tokens)
        # The assistant's earlier turn belongs to the prompt.
        labelled = coder().decode(answer.tokens[answer.labels != IGNORED].tolist())
        assert labelled == last["content"]
        assert (whole.labels != IGNORED).sum() > (answer.labels != IGNORED).sum()


def test_tokens(tmp_path: Path) -> None:
    chosen = {"token_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}
    (row,) = load(tmp_path, {"chosen": chosen, "rejected": {"token_ids": [5, 6, 9]}}).rows
    assert row.tokens.tolist() == [5, 6, 7, 8, 5, 6, 9]
    assert row.labels.tolist() == [-100, -100, 7, 8, 5, 6, 9]
    assert row.lengths == (4, 3)


def test_a_pair_stays_together_even_where_it_is_longer_than_a_row_may_be(tmp_path: Path) -> None:
    long = {"chosen": {"token_ids": list(range(5, 13))}, "rejected": {"token_ids": list(range(5, 12))}}
    short = {"chosen": {"token_ids": [1, 2]}, "rejected": {"token_ids": [1, 3]}}
    rows = load(tmp_path, short, long, short, max_tokens=8).rows
    batches = pack(rows, PackLimits(8, 8))
    assert [batch.segments.tolist() for batch in batches] == [[0, 2, 4], [0, 8, 15], [0, 2, 4]]


def test_truncation_cuts_each_answer(tmp_path: Path) -> None:
    pair = {"chosen": {"token_ids": list(range(5, 13))}, "rejected": {"token_ids": [5, 6, 7]}}
    found = load(tmp_path, pair, max_tokens=4, truncate=True)
    assert (found.truncated, found.rows[0].lengths) == (1, (4, 3))
    with pytest.raises(PocketLoraError, match="the row has 8 tokens, the bundle was exported for at most 4") as caught:
        load(tmp_path, pair, max_tokens=4)
    assert caught.value.status == Status.SEQUENCE_TOO_LONG


TOKENS = {"token_ids": [1, 2]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, "expected a row of a preference, with 'chosen' and 'rejected' (--loss dpo)"),
        ({"prompt": "x", "chosen": "y"}, "'rejected' is missing"),
        ({"prompt": "x", "rejected": "y"}, "'chosen' is missing"),
        ({"chosen": "x", "rejected": "y"}, "expected 'prompt' beside the strings 'chosen' and 'rejected', found none"),
        ({"prompt": 1, "chosen": "x", "rejected": "y"}, "expected 'prompt' to be a string, found a number"),
        ({"prompt": "p", "chosen": "x", "rejected": "x"}, "expected 'chosen' and 'rejected' to differ"),
        ({"prompt": "p", "chosen": "x", "rejected": [BAD]}, "found a string and a list"),
        ({"prompt": "p", "chosen": 1, "rejected": None}, "found a number and null"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "completion": "z"}, "found 'completion'"),
        ({"chosen": [USER, GOOD], "rejected": [USER]}, "one is the beginning of the other"),
        ({"chosen": [USER, GOOD], "rejected": []}, "expected 'rejected' to be a list that is not empty"),
        ({"chosen": [{"role": "user"}], "rejected": [BAD]}, "chosen[0] to be an object with 'role' and 'content'"),
        ({"prompt": [], "chosen": [GOOD], "rejected": [BAD]}, "expected 'prompt' to be a list that is not empty"),
        ({"prompt": [USER], "chosen": [USER], "rejected": [BAD]}, "no token to learn from"),
        ({"chosen": TOKENS, "rejected": {"labels": [1]}}, "expected 'rejected' to have 'token_ids'"),
        ({"prompt": "p", "chosen": TOKENS, "rejected": TOKENS}, "expected no 'prompt' beside rows of tokens"),
        ({"chosen": TOKENS | {"lengths": [2]}, "rejected": TOKENS}, "expected 'chosen' to be one row, found 'lengths'"),
        (
            {"chosen": TOKENS, "rejected": {"token_ids": [1, -2]}},
            "rejected: token_ids[1]: expected 0 or more, found -2",
        ),
        ({"chosen": TOKENS, "rejected": {"token_ids": [1, 400]}}, "expected tokens from 0 to 299, found 400"),
        ({"chosen": TOKENS, "rejected": TOKENS | {"labels": [1, -100]}}, "no token to learn from"),
    ],
)
def test_each_malformed_row_is_named(tmp_path: Path, row: object, words: str) -> None:
    good = {"prompt": "p", "chosen": "x", "rejected": "y"}
    with pytest.raises(PocketLoraError) as caught:
        load(tmp_path, good, row, good)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'pairs.jsonl'}:2: ")
    assert words in message
    assert caught.value.status == Status.INPUT_MALFORMED


def test_only_dpo_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "x", "rejected": "y"}) + "\n")
    with pytest.raises(PocketLoraError, match="only train --loss dpo takes it"):
        load_dataset(path, coder(), RowOptions(100))
