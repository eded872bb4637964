"""One tokenizer of each kind that tokenizer.json occurs in, trained on this repository's own files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

REPOSITORY = Path(__file__).resolve().parents[2]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:s|d|m|t|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SCRIPTS = [
    "Grüße aus Köln, déjà vu, naïve Ærøskøbing — „ŁÓDŹ“ 12 345,67 €",
    "Привет, мир! Γειά σου Κόσμε. Cafe\u0301 e\u0301te\u0301 Å Ａｎｇｓｔｒöm",
    "日本語のテキストと中文文本、한국어 텍스트 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก ৩৪৫",
    "🙂 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ½ ﬁ Ⅻ ① 𝕬𝖇𝖈 \u3000\u00a0\u200b",
]
CHAT = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
_VOCABULARY = 2000


@lru_cache(maxsize=1)
def corpus() -> tuple[str, ...]:
    """Paragraphs and programs."""
    files = [*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*/*.jsonl")]
    files += [*REPOSITORY.glob("pocketlora_export/bundle/*.py"), *REPOSITORY.glob("runtime_cpp/tokenizer/*.cc")]
    texts = [path.read_text("utf-8") for path in sorted(files)]
    return (*texts, *(SCRIPTS * 20))


def _trained(tokenizer: Tokenizer, vocabulary: int = _VOCABULARY, **options: Any) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, **options)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def _rewritten(tokenizer: Tokenizer, change: Callable[[dict[str, Any]], None]) -> Tokenizer:
    description = json.loads(tokenizer.to_str())
    change(description)
    return Tokenizer.from_str(json.dumps(description))


def _byte_level(*steps: Any, specials: list[str] | None = None, use_regex: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(tokenizer, initial_alphabet=alphabet, special_tokens=specials or ["<|endoftext|>"])


def _split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def gpt2() -> Tokenizer:
    return _byte_level(use_regex=True)


def roberta() -> Tokenizer:
    """GPT-2 with a space before the text, and a mask that takes the space before it."""
    tokenizer = gpt2()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), "<s>"])
    return tokenizer


def llama3() -> Tokenizer:
    """Words that are tokens are taken whole, also those that no merges lead to."""
    tokenizer = _byte_level(_split(LLAMA3), specials=["<|begin_of_text|>", *CHAT])

    def forget_merges(description: dict[str, Any]) -> None:
        description["model"]["ignore_merges"] = True
        description["model"]["merges"] = [m for i, m in enumerate(description["model"]["merges"]) if i % 5]

    tokenizer = _rewritten(tokenizer, forget_merges)
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="$A $B", special_tokens=[("<|begin_of_text|>", 0)]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def cl100k() -> Tokenizer:
    return _byte_level(_split(CL100K))


def qwen2() -> Tokenizer:
    tokenizer = _byte_level(_split(QWEN2))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(CHAT)
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False), "caf\u00e9"])
    return tokenizer


def o200k() -> Tokenizer:
    return _byte_level(_split(O200K), specials=CHAT)


def starcoder() -> Tokenizer:
    return _byte_level(pre_tokenizers.Digits(individual_digits=True), use_regex=True)


def deepseek() -> Tokenizer:
    return _byte_level(_split(r"\p{N}{1,3}"), _split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), _split(DEEPSEEK))


def nfkc() -> Tokenizer:
    tokenizer = _byte_level(pre_tokenizers.Digits(individual_digits=False), use_regex=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("``", '"')])
    return tokenizer


def nfd() -> Tokenizer:
    tokenizer = gpt2()
    tokenizer.normalizer = normalizers.NFD()
    return tokenizer


def flags() -> Tokenizer:
    """Every flag of an added token, and tokens that begin as others do or overlap them."""
    tokenizer = qwen2()
    tokenizer.add_tokens(
        [
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("e\u0301te\u0301", normalized=True),
            AddedToken("<le", normalized=False),
            AddedToken("  ", normalized=False),
            AddedToken("ab", normalized=True, single_word=True),
            AddedToken("bc", normalized=True, rstrip=True),
        ]
    )
    return tokenizer


def _sentencepiece(
    *, split: bool = True, byte_fallback: bool = True, fuse_unk: bool = True, vocabulary: int = _VOCABULARY
) -> Tokenizer:
    """A BPE over characters, trained as SentencePiece does: merges do not reach across spaces, unless not `split`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=fuse_unk))
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?:\n)+|[^\n]{1,20}"), "isolated")
    fallback = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    _trained(tokenizer, vocabulary, special_tokens=["<unk>", "<s>", "</s>", *fallback], limit_alphabet=150)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = None

    def demote_bytes(description: dict[str, Any]) -> None:
        description["added_tokens"] = description["added_tokens"][:3]

    return _rewritten(tokenizer, demote_bytes)


def _llama2_decoder() -> Any:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return decoders.Sequence(steps)


def _bos() -> Any:
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])


def llama2() -> Tokenizer:
    tokenizer = _sentencepiece()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder, tokenizer.post_processor = _llama2_decoder(), _bos()
    return tokenizer


def mistral() -> Tokenizer:
    """Not "legacy": a space before the text, none behind special tokens."""
    tokenizer = _sentencepiece()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = _llama2_decoder()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def gemma() -> Tokenizer:
    tokenizer = _sentencepiece()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = _bos()
    spaces = [AddedToken(text, normalized=False) for text in ("\n\n", "▁▁", "▁▁▁▁", "<table>")]
    tokenizer.add_tokens(spaces)
    tokenizer.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    return tokenizer


def across_spaces() -> Tokenizer:
    """Merges reach across spaces, so a text is one word; without a fallback to bytes, unknown characters are fused."""
    tokenizer = _sentencepiece(split=False, byte_fallback=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return tokenizer


def metaspace() -> Tokenizer:
    """Metaspace on both sides; every unknown character has a token."""
    tokenizer = _sentencepiece(byte_fallback=False, fuse_unk=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def some_bytes() -> Tokenizer:
    """A fallback to bytes that some characters have and others have not."""
    tokenizer = llama2()

    def forget_bytes(description: dict[str, Any]) -> None:
        vocab = description["model"]["vocab"]
        for byte in range(0x90, 0xA8):
            vocab[f"<unused {byte}>"] = vocab.pop(f"<0x{byte:02X}>")
        description["model"]["fuse_unk"] = False

    return _rewritten(tokenizer, forget_bytes)


def shipped() -> Tokenizer:
    """The one of the model that ships with the project."""
    return Tokenizer.from_file(str(REPOSITORY / "models" / "pocket-llama-4m" / "tokenizer.json"))


KINDS: dict[str, Callable[[], Tokenizer]] = {
    make.__name__: make
    for make in (
        shipped,
        gpt2,
        roberta,
        llama3,
        cl100k,
        qwen2,
        o200k,
        starcoder,
        deepseek,
        nfkc,
        nfd,
        flags,
        llama2,
        mistral,
        gemma,
        across_spaces,
        metaspace,
        some_bytes,
    )
}
