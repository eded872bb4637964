"""The tokenizer of a bundle: files as they are, a compact form for devices, the chat template, goldens for others."""

from __future__ import annotations

import shutil
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from pocketlora_export.bundle.manifest import Golden, Tokenizer
from pocketlora_export.bundle.tokenizer_compact import COMPACT, write_compact
from pocketlora_export.bundle.tokenizer_reading import CHAT_TEMPLATE, CONFIG, TOKENIZER, load, read_chat_template
from pocketlora_export.errors import PocketLoraError, Status

_SENTENCEPIECE = "tokenizer.model"
_COPIED = (CONFIG, "special_tokens_map.json")

GOLDEN_TEXTS = (
    "",
    "a",
    "Hello, world!",
    " leading and trailing spaces ",
    "two  spaces, a\ttab, a\nnewline\r\nand more\n\n",
    "   \t  \n",
    "The quick brown fox jumps over the lazy dog 1234567890 times.",
    "don't can't we'll I'm they've IT'S",
    "Grüße aus Köln, déjà vu, naïve, Ærøskøbing, ŁÓDŹ",
    "日本語のテキストと中文文本、한국어",
    "Привет, мир! Γειά σου Κόσμε",
    "مرحبا بالعالم שלום עולם",
    "emoji 🙂 👩‍👩‍👧‍👦 🇩🇪 and combining e\u0301 n\u0303",
    "def f(x):\n    return x ** 2  # comment\n",
    "https://example.org/a_b?c=d&e=%20f#g",
    "zero\u200bwidth, nbsp\u00a0, soft\u00adhyphen, ideographic\u3000space",
    "𝕬𝖇𝖈 ① ½ ﬁ Ⅻ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
)


def _convert_sentencepiece(folder: Path, target: Path) -> None:
    """Write tokenizer.json for a model that only has a SentencePiece file."""
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer.save(str(target))
    except (OSError, ValueError, AttributeError, ImportError) as error:
        message = f"{folder / _SENTENCEPIECE}: no {TOKENIZER} beside it, and it could not be converted: {error}"
        raise PocketLoraError(Status.INPUT_UNSUPPORTED, message) from error


def special_texts(tokenizer: FastTokenizer) -> list[str]:
    """Texts with the tokenizer's own special tokens in them."""
    specials = [t.content for _, t in sorted(tokenizer.get_added_tokens_decoder().items()) if t.special][:4]
    return [f"{token}before {token} and after{token}" for token in specials]


def make_goldens(tokenizer: FastTokenizer) -> list[Golden]:
    """Texts and their ids, encoded with special tokens as training rows are."""
    texts = [*GOLDEN_TEXTS, *special_texts(tokenizer)]
    return [Golden(text=text, ids=tokenizer.encode(text).ids) for text in texts]


def check_goldens(tokenizer: FastTokenizer, goldens: list[Golden]) -> list[str]:
    """Every golden that this tokenizer encodes differently."""
    found = [(golden, tokenizer.encode(golden.text).ids) for golden in goldens]
    return [f"golden {g.text!r}: expected ids {g.ids}, found {ids}" for g, ids in found if ids != g.ids]


def _adds_bos(tokenizer: FastTokenizer, bos: int | None) -> bool:
    ids = tokenizer.encode("a").ids
    return bos is not None and bool(ids) and ids[0] == bos


def _check_ids(tokenizer: FastTokenizer, vocab_size: int, path: Path) -> None:
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        message = f"{path}: has token id {largest}, but the model's vocabulary ends at {vocab_size - 1}"
        raise PocketLoraError(Status.INPUT_MISMATCH, message)


def write_tokenizer(folder: Path, target: Path, vocab_size: int, bos: int | None) -> tuple[Tokenizer | None, list[str]]:
    """Bring a model's tokenizer into a bundle.

    Args:
        folder: the model.
        target: the bundle's folder.
        vocab_size: rows of the embedding.
        bos: the model's BOS token.

    Returns:
        The manifest's entry, None when the model has no tokenizer; and what the user should know.

    Raises:
        PocketLoraError: INPUT_MALFORMED, INPUT_UNSUPPORTED, INPUT_MISMATCH when it has ids that the model does not, or
            INTERNAL when the C++ library encodes a golden differently.
    """
    template = read_chat_template(folder)
    if (folder / TOKENIZER).is_file():
        load(folder / TOKENIZER)  # an error names the user's file, not the copy
        shutil.copyfile(folder / TOKENIZER, target / TOKENIZER)
    elif (folder / _SENTENCEPIECE).is_file():
        _convert_sentencepiece(folder, target / TOKENIZER)
    else:
        return None, []
    files = [TOKENIZER] + [name for name in _COPIED if (folder / name).is_file()]
    for name in files[1:]:
        shutil.copyfile(folder / name, target / name)
    if template is not None:
        (target / CHAT_TEMPLATE).write_text(template, "utf-8")
    tokenizer = load(target / TOKENIZER)
    _check_ids(tokenizer, vocab_size, folder / TOKENIZER)
    goldens = make_goldens(tokenizer)
    has_compact, warnings = write_compact(target, tokenizer, goldens, folder / TOKENIZER)
    entry = Tokenizer(
        files=files + [COMPACT] * has_compact,
        chat_template=CHAT_TEMPLATE if template is not None else None,
        add_bos=_adds_bos(tokenizer, bos),
        goldens=goldens,
    )
    return entry, warnings
