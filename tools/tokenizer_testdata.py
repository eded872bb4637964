"""`python tools/tokenizer_testdata.py [FOLDER]`: the small tokenizer files that the C++ tests read.

Two tokenizers whose merges are written down here, and texts with the ids and the decoded text that Hugging Face's
library gives: "<text in hex> <ids> <decoded in hex>" a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pocketlora_export.bundle.tokenizer_convert import convert_tokenizer

FOLDER = Path(__file__).resolve().parent.parent / "runtime_cpp" / "tokenizer" / "testdata"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
MERGES = ["t h", "h e", "th e", "Ġ the", "i n", "Ġ a", "r e", "a a", "aa aa", "aaaa aaaa", "Ã ¼", "1 2", "12 3", "Ġ Ġ"]
PIECES = ["▁ t", "h e", "▁t he", "a a", "aa aa", "▁ ▁", "▁▁ ▁▁", "l l", "e ll", "▁ h", "▁h ell", "ü b"]
TEXTS = [
    "",
    "the theatre in the heat",
    " the  the\tthe\n\nthe \r\n the",
    "a" * 200,
    "12345 1234567 ١٢٣٤",
    "It's WE'RE 'ſ you'll I'd",
    "für über naïve 日本語 🙂👩‍👩‍👧 e\u0301",
    "hello <eos>  <mask> hello<mask>the <eos",
    "\u00a0\u3000 x\u2028y\u0085z",
    "a<0x41>\0b\uffffd",
]


def byte_level() -> Tokenizer:
    """Llama 3's pattern, bytes, a mask that takes the spaces before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in MERGES)]
    tokens = [*alphabet, *(left + right for left, right in merges)]
    model = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(model)
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"), last])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<bos>", "<eos>", AddedToken("<mask>", lstrip=True)])
    bos = ("<bos>", tokenizer.token_to_id("<bos>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="$A $B", special_tokens=[bos])
    return tokenizer


def sentencepiece() -> Tokenizer:
    """Llama 2's steps, characters with a fallback to bytes."""
    merges = [(left, right) for left, _, right in (piece.partition(" ") for piece in PIECES)]
    tokens = ["<unk>", "<s>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [*"▁theaulbfrnïüIW'", *(left + right for left, right in merges)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "<eos>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="$A $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    return tokenizer


def goldens(tokenizer: Tokenizer) -> str:
    """Texts, their ids, and the text of these without special tokens."""
    lines = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        decoded = tokenizer.decode(ids).encode().hex()
        lines.append(f"{text.encode().hex() or '-'} {','.join(map(str, ids))} {decoded or '-'}\n")
    return "".join(lines)


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for make in (byte_level, sentencepiece):
        tokenizer = make()
        (folder / f"{make.__name__}.plt").write_bytes(convert_tokenizer(tokenizer))
        (folder / f"{make.__name__}.txt").write_text(goldens(tokenizer), "utf-8")


if __name__ == "__main__":
    main()
