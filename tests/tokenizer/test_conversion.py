"""What a tokenizer file cannot say is refused by name, and a file that gives other ids is not shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pocketlora_export.bundle import tokenizer_compact
from pocketlora_export.bundle.tokenizer import make_goldens
from pocketlora_export.bundle.tokenizer_characters import CharacterSets
from pocketlora_export.bundle.tokenizer_compact import COMPACT, compact_problems, write_compact
from pocketlora_export.bundle.tokenizer_convert import convert_tokenizer
from pocketlora_export.bundle.tokenizer_library import CompactTokenizer
from pocketlora_export.bundle.tokenizer_pattern import compile_pattern
from pocketlora_export.errors import PocketLoraError, Status
from tests.support.models import byte_tokenizer
from tools import tokenizer_testdata

METASPACE = pre_tokenizers.Metaspace(prepend_scheme="first")


def plain() -> Tokenizer:
    tokenizer: Tokenizer = byte_tokenizer().backend_tokenizer
    return tokenizer


def refused(tokenizer: Tokenizer) -> str:
    with pytest.raises(PocketLoraError) as caught:
        convert_tokenizer(tokenizer)
    assert caught.value.status is Status.INPUT_UNSUPPORTED
    return str(caught.value)


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("normalizer", normalizers.Lowercase(), "normalizer Lowercase is not supported"),
        ("normalizer", normalizers.Replace(Regex("a+"), "b"), "normalizer: Replace of the pattern"),
        ("pre_tokenizer", pre_tokenizers.Whitespace(), "pre-tokenizer Whitespace is not supported"),
        ("pre_tokenizer", METASPACE, "of which only one is ByteLevel"),
        ("decoder", decoders.WordPiece(), "decoder WordPiece is not supported"),
        ("decoder", decoders.Sequence([decoders.Strip(" ", 1, 0), decoders.Fuse()]), "decoder Strip, Fuse"),
        ("decoder", decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 1)]), "Strip with stop 1"),
        ("post_processor", processors.BertProcessing(("</s>", 2), ("<s>", 1)), "post-processor BertProcessing"),
        ("post_processor", processors.TemplateProcessing(single="$A $A", pair="$A $B"), "anything but one text"),
    ],
)
def test_parts_are_refused_by_name(part: str, value: Any, text: str) -> None:
    tokenizer = plain()
    setattr(tokenizer, part, value)
    assert text in refused(tokenizer)


def test_all_reasons_at_once() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    found = refused(tokenizer)
    assert all(name in found for name in ("WordLevel", "Lowercase", "Whitespace", "decoder null"))


def test_a_first_piece_that_cannot_be_told() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"▁": 0, "a": 1}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.normalizer = METASPACE, normalizers.Prepend("x")
    tokenizer.decoder = decoders.Metaspace()
    assert "prepend_scheme 'first'" in refused(tokenizer)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"a|b*", "that it can match nothing"),
        (r"(?:ab)+", "a group with a quantifier other than '?'"),
        (r"(?<=a)b", "'(?<=' is not supported"),
        (r"a+?", "a quantifier behind a quantifier"),
        (r"\bword", r"'\\b'"),
        (r"\p{Han}+", r"'\\p{Han}'"),
        (r"[a[bc]]", "a class inside of a class"),
        (r"[a-z&&[^b]]", "a class inside of a class"),
        (r"(?i:ß)", "with case ignored"),
        (r"(?i:class)", "'class'"),
        (r"(?i:[a-z])", "a class with case ignored"),
        (r"^a", "'^'"),
        (r".+", "'.'"),
        (r"\w+", r"'\\w'"),
        (r"a{2}{3}", "a quantifier behind a quantifier"),
    ],
)
def test_patterns_are_refused_by_name(pattern: str, text: str) -> None:
    with pytest.raises(PocketLoraError) as caught:
        compile_pattern(pattern, CharacterSets())
    assert caught.value.status is Status.INPUT_UNSUPPORTED
    assert text in str(caught.value)


def test_an_unsupported_tokenizer_is_left_out_with_a_warning(tmp_path: Path) -> None:
    tokenizer = plain()
    tokenizer.normalizer = normalizers.Lowercase()
    has_file, warnings = write_compact(tmp_path, tokenizer, make_goldens(tokenizer), Path("its/tokenizer.json"))
    assert not has_file
    assert list(tmp_path.iterdir()) == []
    assert "its/tokenizer.json" in warnings[0]
    assert "normalizer Lowercase" in warnings[0]


def test_other_ids_fail_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = plain()
    other = plain()
    other.post_processor = None
    wrong = convert_tokenizer(other)
    monkeypatch.setattr(tokenizer_compact, "convert_tokenizer", lambda _: wrong)
    with pytest.raises(PocketLoraError, match="gives other ids than Hugging Face's") as caught:
        write_compact(tmp_path, tokenizer, make_goldens(tokenizer), Path("tokenizer.json"))
    assert caught.value.status is Status.INTERNAL


def test_without_the_library_the_export_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETLORA_TOKENIZER_LIBRARY", str(tmp_path / "none.so"))
    tokenizer = plain()
    has_file, warnings = write_compact(tmp_path, tokenizer, [], Path("tokenizer.json"))
    assert has_file
    assert "was not checked" in warnings[0]
    with pytest.raises(PocketLoraError, match="was not found"):
        compact_problems(tmp_path / COMPACT, [])


def test_a_damaged_file_is_a_problem(tmp_path: Path) -> None:
    tokenizer = plain()
    data = bytearray(convert_tokenizer(tokenizer))
    data[len(data) // 2] ^= 1
    (tmp_path / COMPACT).write_bytes(data)
    (problem,) = compact_problems(tmp_path / COMPACT, make_goldens(tokenizer))
    assert "its sums do not match" in problem


def test_the_same_tokenizer_gives_the_same_bytes() -> None:
    description = json.loads(plain().to_str())
    assert convert_tokenizer(plain()) == convert_tokenizer(Tokenizer.from_str(json.dumps(description)))


@pytest.mark.parametrize("make", [tokenizer_testdata.byte_level, tokenizer_testdata.sentencepiece])
def test_the_files_of_the_cpp_tests_are_up_to_date(make: Any) -> None:
    path = tokenizer_testdata.FOLDER / make.__name__
    assert convert_tokenizer(make()) == path.with_suffix(".plt").read_bytes()
    assert tokenizer_testdata.goldens(make()) == path.with_suffix(".txt").read_text("utf-8")


def test_a_long_word(tmp_path: Path) -> None:
    tokenizer = tokenizer_testdata.byte_level()
    tokenizer.add_tokens([AddedToken("aaaaaaaaaaaaaaaab", normalized=False)])
    (tmp_path / COMPACT).write_bytes(convert_tokenizer(tokenizer))
    text = "theaaaa" * 15_000
    with CompactTokenizer(tmp_path / COMPACT) as compact:
        assert compact.encode(text) == tokenizer.encode(text).ids
