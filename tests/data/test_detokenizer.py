"""Streaming text: the pieces add up to the whole, and no piece shows half a character."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from tokenizers.processors import TemplateProcessing

from pocketlora_export.data.detokenizer import Detokenizer
from tests.support.models import byte_tokenizer


def byte_level() -> Tokenizer:
    """One token a byte, as GPT-2 and Llama 3 spell them."""
    return Tokenizer.from_str(byte_tokenizer().backend_tokenizer.to_str())


def byte_fallback() -> Tokenizer:
    """Words begin with U+2581 and unknown characters fall back to bytes, as in Llama 2."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", *"abcdehlorw"]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


TOKENIZERS = {"byte level": byte_level(), "byte fallback": byte_fallback()}


def pieces(tokenizer: Tokenizer, prompt: list[int], new: list[int]) -> list[str]:
    stream = Detokenizer(tokenizer, prompt)
    return [*(stream.push(token) for token in new), stream.flush()]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=st.text("héllo wörld 日本🙂 ", max_size=6), new=st.text("abc déf é日本🙂👩‍👧 ", max_size=20))
def test_pieces_add_up_to_what_was_written(name: str, prompt: str, new: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(prompt + new).ids
    start = len(tokenizer.encode(prompt).ids)
    assume(ids[:start] == tokenizer.encode(prompt).ids)
    found = pieces(tokenizer, ids[:start], ids[start:])
    assert "".join(found) == new
    assert "\ufffd" not in "".join(found)


def test_a_character_appears_when_its_last_byte_does() -> None:
    tokenizer = TOKENIZERS["byte level"]
    ids = tokenizer.encode("a🙂b", add_special_tokens=False).ids
    assert pieces(tokenizer, [], ids) == ["a", "", "", "", "🙂", "b", ""]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_broken_bytes_are_shown_at_the_end_at_the_latest(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    broken = tokenizer.encode("a🙂", add_special_tokens=False).ids[:-1]
    found = pieces(tokenizer, [], broken)
    assert found[-1].startswith("\ufffd")
    assert "".join(found).strip("\ufffd") == "a"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_are_silent_and_do_not_swallow_the_next_space(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    words = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("ab", "ab cd")]
    new = [*words[0], 2, *words[1][len(words[0]) :], 2]
    assert "".join(pieces(tokenizer, [], new)) == "ab cd"
