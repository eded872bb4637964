"""`data prepare` as a whole: what is kept, what is named, where it goes, and that a failure leaves nothing."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.data.dataset import RowOptions, load_dataset
from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.prepare.job import prepare
from pocketlora_export.data.prepare.split import first_of_each, split_of
from pocketlora_export.data.prepare.statistics import summary
from pocketlora_export.data.prepare.tokenizer import TokenizerSource, open_tokenizer
from pocketlora_export.errors import PocketLoraError, Status
from tests.data.prepare.conftest import ALL_TRAIN, Job, Prepared, lines, run_job
from tests.support.models import byte_tokenizer

CHAT = {"messages": [{"role": "user", "content": "q3"}, {"role": "assistant", "content": "a3"}]}
BAD = ("{", '{"title": 1}', '{"text": 5}', "[1, 2]", '{"question": "q"}')


@pytest.fixture
def model_folder(tmp_path: Path) -> TokenizerSource:
    """A Hugging Face folder with a tokenizer, a chat template and end tokens."""
    folder = tmp_path / "model"
    byte_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"eos_token_id": 2}')
    return TokenizerSource(folder, bundle=False)


def texts(count: int, seed: int = 0) -> list[dict[str, str]]:
    source = random.Random(seed)
    return [
        {"text": f"row {row}: " + " ".join(f"w{source.randint(0, 999)}" for _ in range(12))} for row in range(count)
    ]


def test_every_kind_and_format_becomes_rows_that_training_reads(job: Job, model_folder: TokenizerSource) -> None:
    made = job(
        {
            "a.jsonl": lines({"text": "t1"}, {"prompt": "p1", "completion": "c1"}, CHAT),
            "b.csv": 'Instruction,Input,Output\ni1,x1,o1\n"i2, quoted",,o2\n',
            "c.json": json.dumps([{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]),
            "d.tsv": "question\tanswer\nq4\ta4\n",
        },
        model_folder,
    )
    assert made.stats["kinds"] == {"text": 1, "prompt": 1, "chat": 1, "instruction": 2, "qa": 3}
    assert [entry["format"] for entry in made.stats["inputs"]] == ["jsonl", "csv", "json", "csv"]
    assert made.rows()[0] == {"text": "t1"}
    assert made.rows()[2] == CHAT
    assert made.rows()[3]["messages"][0]["content"] == "i1\n\nx1"
    dataset = load_dataset(made.folder / "train.jsonl", open_tokenizer(model_folder).coder, RowOptions(100))
    assert [len(row.tokens) for row in dataset.rows] == [len(row.tokens) for row in encoded_rows(made, model_folder)]
    assert made.stats["tokens"]["sum"] == dataset.num_tokens
    assert made.stats["splits"]["train"]["tokens"] == dataset.num_tokens


def encoded_rows(made: Prepared, source: TokenizerSource, name: str = "train") -> list[Encoded]:
    coder = open_tokenizer(source).coder
    return load_dataset(made.folder / f"{name}.jsonl", coder, RowOptions(10_000)).rows


def test_five_percent_of_broken_rows_are_all_named(job: Job, tmp_path: Path) -> None:
    source = random.Random(4)
    rows: list[object] = list(texts(400))
    broken = sorted(source.sample(range(400), 20))
    for place, row in enumerate(broken):
        rows[row] = BAD[place % len(BAD)]
    # The same in an array and in a table: what breaks a row there.
    array = [json.dumps(row) for row in texts(100, 5)]
    table = [f"q{row},a{row}" for row in range(100)]
    for place in (3, 40, 77, 78, 99):
        array[place] = ('{"text": oops}', '{"title": 1}', "17", '{"text": "cut', '{"text": null}')[place % 5]
        table[place] = ('q,"open', "one", "a,b,c", 'q,"a"b', 'q,"open')[place % 5]
    made = job(
        {
            "a.jsonl": lines(*rows),
            "b.json": "[\n" + ",\n".join(array) + "\n]\n",
            "c.csv": "question,answer\n" + "\n".join(table) + "\n",
        },
    )
    listed = [json.loads(line) for line in (made.folder / "rejected.jsonl").read_text("utf-8").splitlines()]
    expected = [(str(tmp_path / "a.jsonl"), row + 1) for row in broken]
    expected += [(str(tmp_path / name), place + 2) for name in ("b.json", "c.csv") for place in (3, 40, 77, 78, 99)]
    assert [(entry["file"], entry["line"]) for entry in listed] == expected
    assert all(entry["reason"] for entry in listed)
    assert made.stats["rows"] == {"read": 600, "bad": 30, "removed": {}, "written": 570}
    assert [(entry["rows"], entry["bad"]) for entry in made.stats["inputs"]] == [(400, 20), (100, 5), (100, 5)]
    assert len(made.rows()) == 570


def test_more_broken_rows_than_allowed_is_an_error_that_writes_nothing(job: Job, tmp_path: Path) -> None:
    content = lines(*texts(70), *BAD * 6)
    with pytest.raises(PocketLoraError) as caught:
        job({"a.jsonl": content}, max_bad_share=0.29)
    assert caught.value.status == Status.INPUT_MALFORMED
    text = str(caught.value)
    assert text.startswith(
        "30 of 100 rows cannot be used, which is more than --max-bad-share 0.29; nothing was written"
    )
    assert f"{tmp_path / 'a.jsonl'}:71: not JSON" in text
    assert f"{tmp_path / 'a.jsonl'}:90: " in text
    assert text.endswith("... and 10 more")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert job({"a.jsonl": content}, max_bad_share=0.3).stats["rows"]["bad"] == 30


def removed(made: Prepared) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / "removed.jsonl").read_text("utf-8").splitlines()]


def test_repetitions_are_removed_and_named(job: Job, tmp_path: Path) -> None:
    inputs: dict[str, str | bytes] = {
        "a.jsonl": lines({"text": "one"}, {"question": "q", "answer": "a"}, {"text": "one \n"}, {"text": "One"}),
        "b.csv": "prompt,completion\nq,a\n",
    }
    made = job(inputs)
    assert made.stats["rows"]["removed"] == {"duplicate": 2}
    first, second = str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")
    assert removed(made) == [
        {"file": first, "line": 3, "reason": "duplicate", "of": {"file": first, "line": 1}},
        {"file": second, "line": 2, "reason": "duplicate", "of": {"file": first, "line": 2}},
    ]
    assert len(job(inputs, duplicates=False).rows()) == 5


def test_first_of_each_by_both_halves_of_the_key() -> None:
    keys = np.array([[1, 2], [2, 1], [1, 2], [1, 3], [2, 1], [1, 2]], dtype=np.uint64)
    every = np.ones(6, dtype=bool)
    assert first_of_each(keys, every).tolist() == [0, 1, 0, 3, 1, 0]
    every[0] = False
    assert first_of_each(keys, every).tolist() == [0, 1, 2, 3, 1, 2]
    assert first_of_each(keys[:0], every[:0]).tolist() == []


def test_near_duplicates_are_removed_or_kept_together(job: Job) -> None:
    rows = texts(200)
    nearly = [{"text": row["text"] + " more"} for row in rows]
    content = lines(*rows, *nearly)
    made = job({"a.jsonl": content}, near="remove")
    assert made.stats["rows"]["removed"] == {"near-duplicate": 200}
    assert made.rows() == rows
    assert [(entry["line"], entry["of"]["line"]) for entry in removed(made)] == [(201 + n, 1 + n) for n in range(200)]
    grouped = job({"a.jsonl": content}, near="group", valid_share=0.3)
    assert grouped.stats["rows"]["removed"] == {}
    for name in ("train", "valid"):
        found = [row["text"] for row in grouped.rows(name)]
        assert {text.removesuffix(" more") for text in found} == {text for text in found if not text.endswith(" more")}
        assert len(found) == 2 * len({text.removesuffix(" more") for text in found})
    assert job({"a.jsonl": content}).stats["rows"]["written"] == 400


def test_a_text_falls_into_the_same_part_wherever_it_stands(job: Job) -> None:
    rows = texts(1000)
    shares = {"valid_share": 0.2, "test_share": 0.1, "seed": 3}
    one = job({"a.jsonl": lines(*rows)}, **shares)
    parts = {name: {row["text"] for row in one.rows(name)} for name in ("train", "valid", "test")}
    # Four sigma of a binomial draw.
    for name, share in (("valid", 0.2), ("test", 0.1)):
        assert abs(len(parts[name]) - 1000 * share) <= 4 * (1000 * share * (1 - share)) ** 0.5
    shuffled = rows[500:] + [{"text": "something else"}] + rows[:500]
    two = job({"x.jsonl": lines(*shuffled[:100]), "y.jsonl": lines(*shuffled[100:])}, **shares)
    again = {name: {row["text"] for row in two.rows(name)} - {"something else"} for name in parts}
    assert again == parts
    other = job({"a.jsonl": lines(*rows)}, **{**shares, "seed": 4})
    assert {row["text"] for row in other.rows("valid")} != parts["valid"]
    assert sum(part["rows"] for part in other.stats["splits"].values()) == 1000


def test_the_split_is_fixed() -> None:
    keys = np.array([[n, 0] for n in range(8)], dtype=np.uint64)
    # A change would move rows of old data sets from one part to another.
    assert split_of(keys, 0, 0.3, 0.3).tolist() == GOLDEN_SPLIT
    assert split_of(keys, 0, 0.0, 0.0).tolist() == [0] * 8


GOLDEN_SPLIT = [2, 0, 2, 1, 2, 0, 0, 2]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, {"empty": 1}),
        ({"min_chars": 4}, {"empty": 1, "too short": 1}),
        ({"max_chars": 10}, {"empty": 1, "too long": 1}),
        # BOS, a token a byte, EOS.
        ({"max_tokens": 12}, {"empty": 1, "too long": 1}),
        ({"min_tokens": 6}, {"empty": 1, "too short": 1}),
    ],
)
def test_lengths(job: Job, model_folder: TokenizerSource, options: dict[str, Any], reason: dict[str, int]) -> None:
    rows = ({"text": "abc"}, {"text": " \n"}, {"text": "abcdefgh"}, {"text": "abcdefghijk"})
    made = job({"a.jsonl": lines(*rows)}, model_folder, **options)
    assert made.stats["rows"]["removed"] == reason
    assert [entry["line"] for entry in removed(made) if entry["reason"] == "empty"] == [2]
    assert made.stats["rows"]["written"] == 4 - sum(reason.values())


MIXED = [
    {"text": "Only text."},
    {"question": "Où?", "answer": "Là."},
    CHAT,
    {"instruction": "Sort.", "input": "b a", "output": "a b"},
    {"prompt": "2 + 2 =", "completion": " 4"},
]


@pytest.mark.parametrize("template", ["model", "chatml", "none"])
def test_rows_of_tokens_are_what_training_makes_of_the_text(
    tmp_path: Path, model_folder: TokenizerSource, template: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*MIXED))
    text = run_job([path], tmp_path / "text", model_folder, template=template)
    tokens = run_job([path], tmp_path / "tokens", model_folder, template=template, tokenize=True)
    packed = run_job([path], tmp_path / "packed", model_folder, template=template, pack=120, max_segments=2)
    expected, found = encoded_rows(text, model_folder), encoded_rows(tokens, model_folder)
    pairs = [(row.tokens.tolist(), row.labels.tolist()) for row in expected]
    assert [(row.tokens.tolist(), row.labels.tolist()) for row in found] == pairs
    unpacked = []
    for row in encoded_rows(packed, model_folder):
        assert len(row.tokens) <= 120
        assert len(row.segments) <= 2
        ends = np.cumsum(row.segments)[:-1]
        columns = (np.split(row.tokens, ends), np.split(row.labels, ends))
        unpacked += [(ids.tolist(), wanted.tolist()) for ids, wanted in zip(*columns, strict=True)]
    assert sorted(unpacked) == sorted(pairs)
    assert any(row.lengths for row in encoded_rows(packed, model_folder))
    part = packed.stats["splits"]["train"]
    assert part["tokens"] == sum(len(row.tokens) for row in expected)
    assert part["labels"] == sum(int((row.labels != -100).sum()) for row in expected)
    assert part["lines"] == packed.stats["packed"]["lines"] == len(packed.rows())


def test_a_tokenizer_without_a_chat_template_takes_no_conversations(job: Job, model_folder: TokenizerSource) -> None:
    (model_folder.path / "chat_template.jinja").unlink()
    with pytest.raises(PocketLoraError, match=r"a\.jsonl:2: the tokenizer has no chat template"):
        job({"a.jsonl": lines({"text": "t"}, CHAT)}, model_folder)
    assert len(job({"a.jsonl": lines({"text": "t"}, CHAT)}, model_folder, template="chatml").rows()) == 2


def test_folders_that_are_no_tokenizer(tmp_path: Path, model_folder: TokenizerSource) -> None:
    with pytest.raises(PocketLoraError, match=r"expected a folder with tokenizer\.json"):
        open_tokenizer(TokenizerSource(tmp_path, bundle=False))
    (model_folder.path / "config.json").write_text("[]")
    with pytest.raises(PocketLoraError, match=r"config\.json: expected a JSON object, found list"):
        open_tokenizer(model_folder)


@pytest.mark.parametrize("tokens", [False, True])
def test_workers_change_nothing(tmp_path: Path, model_folder: TokenizerSource, tokens: bool) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[object] = [*texts(1500), *texts(200), "broken", *({"text": row["text"] + " x"} for row in texts(100))]
    path.write_text(lines(*rows))
    options: dict[str, Any] = {"near": "remove", "valid_share": 0.1, "pack": 256 if tokens else None}
    made = [
        run_job([path], tmp_path / str(workers), model_folder if tokens else None, workers=workers, **options)
        for workers in (1, 2)
    ]
    contents = [{file.name: file.read_bytes() for file in sorted(found.folder.iterdir())} for found in made]
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"train.jsonl", "valid.jsonl", "rejected.jsonl", "removed.jsonl", "stats.json"}
    assert Counter(entry["reason"] for entry in removed(made[0])) == {"duplicate": 200, "near-duplicate": 100}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("stage", ["reading", "comparing", "writing"])
def test_an_interrupt_leaves_what_was_there(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*texts(50)))
    made = run_job([path], tmp_path / "out")
    before = {file.name: file.read_bytes() for file in made.folder.iterdir()}

    def interrupt(what: str, *_: int) -> None:
        if what == stage:
            raise KeyboardInterrupt

    options = dataclasses.replace(ALL_TRAIN, near="remove")
    for output in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            prepare([path], output, options, None, interrupt, force=True)
    assert names(tmp_path) == ["a.jsonl", "out"]
    assert {file.name: file.read_bytes() for file in made.folder.iterdir()} == before


def test_a_worker_that_is_killed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*texts(6000)))

    def kill(*_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(PocketLoraError, match="a worker process ended before its work was done") as caught:
        prepare([path], tmp_path / "out", dataclasses.replace(ALL_TRAIN, workers=2), None, kill)
    assert caught.value.status == Status.OUT_OF_MEMORY
    assert names(tmp_path) == ["a.jsonl"]


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines(*texts(5)))

    def run(output: Path, *, force: bool = False) -> None:
        prepare([folder], output, ALL_TRAIN, None, lambda *_: None, force=force)

    for output in (folder, folder / "out"):
        with pytest.raises(PocketLoraError, match="expected a folder apart from the inputs"):
            run(output)
    run(tmp_path / "out")
    with pytest.raises(PocketLoraError, match="exists; --force replaces it"):
        run(tmp_path / "out")
    run(tmp_path / "out", force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(PocketLoraError, match=r"is not empty and holds no stats\.json"):
        run(tmp_path / "other", force=True)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_inputs_without_rows(job: Job, content: str) -> None:
    with pytest.raises(PocketLoraError, match=r"a\.jsonl: no rows"):
        job({"a.jsonl": content})


def test_nothing_that_is_left(job: Job, tmp_path: Path) -> None:
    with pytest.raises(PocketLoraError, match="no row is left: 2 were read; removed: 1 empty, 1 too short"):
        job({"a.jsonl": lines({"text": "abc"}, {"text": ""})}, min_chars=10)
    assert names(tmp_path) == ["a.jsonl"]


def test_statistics(job: Job) -> None:
    made = job({"a.jsonl": lines(*({"text": "x" * length} for length in range(1, 101)))})
    found = made.stats["characters"]
    assert (found["sum"], found["mean"], found["min"], found["max"]) == (5050, 50.5, 1, 100)
    assert found["percentiles"] == {"1": 1, "5": 5, "25": 25, "50": 50, "75": 75, "95": 95, "99": 99}
    assert [(entry["from"], entry["to"], entry["rows"]) for entry in found["histogram"]] == [
        (1, 1, 1), (2, 3, 2), (4, 7, 4), (8, 15, 8), (16, 31, 16), (32, 63, 32), (64, 127, 37),
    ]  # fmt: skip
    assert summary(np.empty(0, dtype=np.uint32)) is None
    assert json.loads((made.folder / "stats.json").read_text("utf-8")) == made.stats


@pytest.mark.slow
def test_two_hundred_thousand_rows_in_little_memory(tmp_path: Path) -> None:
    # The benchmark's data and its measurement, at a fifth of its size.
    from benchmarks.data_prepare import generate, measure

    small, large = (generate(tmp_path / f"{count}.jsonl", count) for count in (20_000, 200_000))
    options = ("--near-duplicates", "remove", "--workers", 1)
    first, second = (measure(data, tmp_path / "out", "test", options) for data in (small, large))
    broken = len(large.broken)
    assert second["broken rows named"] == f"{broken} of {broken}, {broken} listed"
    assert second["duplicates"] == f"{large.repeated} of {large.repeated}"
    key = "peak RSS MB, all processes"
    # Ten times the rows: at most 500 bytes for each row more.
    assert float(second[key]) - float(first[key]) <= 180_000 * 500 / 1e6
