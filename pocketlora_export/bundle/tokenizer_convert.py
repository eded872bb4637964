"""tokenizer.json to a tokenizer file (docs/tokenizer.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer

from pocketlora_export.bundle import tokenizer_file as tf
from pocketlora_export.bundle.tokenizer_characters import CharacterSets, named, two_stage
from pocketlora_export.bundle.tokenizer_file import Section
from pocketlora_export.bundle.tokenizer_normalization import normalization_tables
from pocketlora_export.bundle.tokenizer_steps import (
    Decoder,
    Step,
    StepKind,
    decoder_of,
    normalizer_steps,
    pre_tokenizer_steps,
    template_ids,
    unsupported,
)
from pocketlora_export.errors import all_of

Sections = dict[Section, NDArray[Any]]

_METASPACE = "\u2581"
_FORMS = (StepKind.NFC, StepKind.NFD, StepKind.NFKC, StepKind.NFKD)


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable character of each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_characters()


def _as_bytes(token: str) -> bytes | None:
    """The bytes of a byte-level token; None where it holds a character that stands for none."""
    found = [_BYTES.get(c, -1) for c in token]
    return None if -1 in found else bytes(found)


@dataclass(frozen=True)
class _Model:
    """The BPE model, and what it knows beside its vocabulary."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    unknown: str | None
    fuses_unknown: bool
    byte_fallback: bool
    ignores_merges: bool
    byte_level: bool

    def word(self, token: str) -> bytes | None:
        """What a word looks like that is this token; None when none can be."""
        return _as_bytes(token) if self.byte_level else token.encode("utf-8")

    def byte_id(self, byte: int) -> int:
        """The id of a byte: of byte-level text, or as fallback."""
        character = next(c for c, b in _BYTES.items() if b == byte) if self.byte_level else f"<0x{byte:02X}>"
        return self.vocab.get(character, tf.NONE)


def _model(part: dict[str, Any], *, byte_level: bool) -> _Model:
    vocab = part["vocab"]
    merges = [(left, right) for left, right in part["merges"]]
    model = _Model(
        vocab=vocab,
        merges=merges,
        unknown=part["unk_token"],
        fuses_unknown=part["fuse_unk"],
        byte_fallback=part["byte_fallback"],
        ignores_merges=part["ignore_merges"],
        byte_level=byte_level,
    )
    if len(set(vocab.values())) != len(vocab):
        raise unsupported("a vocabulary with two tokens of one id")
    if model.unknown is not None and model.unknown not in vocab:
        raise unsupported(f"an unknown token, {model.unknown!r}, that is not in the vocabulary")
    if byte_level and model.byte_fallback and any(model.byte_id(b) == tf.NONE for b in range(256)):
        raise unsupported("byte-level text with a vocabulary that lacks bytes")
    if len(merges) >= tf.MAX_MERGES:
        raise unsupported(f"{len(merges)} merges, more than {tf.MAX_MERGES - 1},")
    return model


def _check_model(part: dict[str, Any]) -> None:
    if part["type"] != "BPE":
        raise unsupported(f"model {part['type']}")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if part[option]:
            raise unsupported(f"model BPE with {option} {part[option]!r}")


def _words(tokenizer: FastTokenizer, model: _Model) -> dict[bytes, int]:
    """The words that become one token: all that are one, or those that merging makes one."""
    found = {}
    for token, number in model.vocab.items():
        word = model.word(token)
        if not word:
            continue
        if model.ignores_merges or [t.id for t in tokenizer.model.tokenize(token)] == [number]:
            found[word] = number
    return found


def _boundary(model: _Model) -> int:
    """The metaspace, when no merge reaches from another character into it."""
    if model.byte_level or model.ignores_merges or _METASPACE not in model.vocab:
        return 0
    inside = (left + right for left, right in model.merges)
    crosses = any(_METASPACE in text.lstrip(_METASPACE) for text in inside)
    return 0 if crosses else ord(_METASPACE)


def _merge_sections(model: _Model) -> Sections:
    pairs, results = {}, []
    for rank, (left, right) in enumerate(model.merges):
        pairs[model.vocab[left], model.vocab[right]] = rank
        results.append(model.vocab[left + right])
    return {Section.PAIRS: tf.pair_table(pairs), Section.RESULTS: np.array(results, "<u4")}


def _symbol_sections(model: _Model) -> Sections:
    alone = {} if model.byte_level else {ord(t): number for t, number in model.vocab.items() if len(t) == 1}
    return {
        Section.BYTE_IDS: np.array([model.byte_id(byte) for byte in range(256)], "<u4"),
        Section.CHARACTERS: tf.character_table(alone),
    }


@dataclass(frozen=True)
class _AddedToken:
    """An added token; `pattern` is what is looked for, `text` what decoding starts from."""

    id: int
    pattern: bytes
    text: str
    content: str
    normalized: bool
    special: bool
    flags: int


def _added(tokenizer: FastTokenizer) -> list[_AddedToken]:
    normalizer = tokenizer.normalizer
    found = []
    for number, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        normal = normalizer is not None and token.normalized
        text = normalizer.normalize_str(token.content) if normal else token.content
        flags = token.lstrip * 1 + token.rstrip * 2 + token.single_word * 4
        entry = _AddedToken(number, text.encode(), text, token.content, token.normalized, token.special, flags)
        found.append(entry)
    if not all(token.pattern for token in found):
        raise unsupported("an added token that is normalized to nothing")
    return found


def _added_sections(added: Sequence[_AddedToken]) -> Sections:
    raw = {token.pattern: i for i, token in enumerate(added) if not token.normalized}
    normalized = {token.pattern: i for i, token in enumerate(added) if token.normalized}
    return {
        Section.ADDED: np.array([(token.id, token.flags) for token in added], tf.PAIR),
        Section.RAW_TRIE: tf.trie(raw),
        Section.NORMALIZED_TRIE: tf.trie(normalized),
    }


def _token_sections(
    model: _Model, added: Sequence[_AddedToken], words: dict[bytes, int], *, as_bytes: bool
) -> Sections:
    texts = {number: token for token, number in model.vocab.items()} | {token.id: token.text for token in added}
    specials = {token.content for token in added if token.special}
    contents, flags = [], []
    for number in range(max(texts, default=0) + 1):
        text = texts.get(number)
        content = b"" if text is None else (_as_bytes(text) if as_bytes else None) or text.encode("utf-8")
        contents.append(content)
        flags.append((text is not None) * 1 + (text in specials) * 2)
    for word, number in words.items():
        if contents[number] != word:
            raise unsupported(f"token {number} with two texts, {word!r} and {contents[number]!r},")
    if len(contents) > tf.MAX_TOKENS:
        raise unsupported(f"token id {len(contents) - 1}, above {tf.MAX_TOKENS - 1},")
    offsets = np.cumsum([0, *(len(content) for content in contents)])
    return {
        Section.TOKEN_OFFSETS: offsets.astype("<u4"),
        Section.TOKEN_BYTES: np.frombuffer(b"".join(contents), "u1"),
        Section.TOKEN_FLAGS: np.array(flags, "u1"),
        Section.WORDS: tf.word_table(words),
    }


def _check_first_piece(normalizer: Sequence[Step], steps: Sequence[Step], added: Sequence[_AddedToken]) -> None:
    """Hugging Face decides by offsets in the original text whether a piece is the first."""
    if not any(step.only_at_start for step in steps):
        return
    inserts = any(step.kind is StepKind.PREPEND for step in normalizer)
    resizes = any(
        not (step.kind is StepKind.REPLACE and len(step.text) == len(step.content) == 1) for step in normalizer
    )
    if inserts or (resizes and any(token.normalized for token in added)):
        raise unsupported("pre-tokenizer Metaspace with prepend_scheme 'first' behind this normalizer")


class _StepWriter:
    """Steps with their texts and programs in shared sections."""

    def __init__(self, sets: CharacterSets) -> None:
        self._sets = sets
        self._texts = b""
        self._programs: list[tuple[int, int, int, int, int | None]] = []

    def rows(self, steps: Sequence[Step]) -> NDArray[np.void]:
        """A section of steps."""
        return np.array([(self._row(step),) for step in steps], tf.STEP)

    def _row(self, step: Step) -> tuple[int, ...]:
        first = self._program(step) if step.program else int(step.only_at_start)
        texts = [*self._text(step.text), *self._text(step.content)]
        return (step.kind, first, step.behavior, int(step.inverted), *texts)

    def _text(self, text: str) -> tuple[int, int]:
        data = text.encode("utf-8")
        self._texts += data
        return len(self._texts) - len(data), len(data)

    def _program(self, step: Step) -> int:
        base = len(self._programs)
        for i in step.program:
            self._programs.append((i.op, base + i.target, i.minimum, i.maximum, i.characters))
        return base

    def sections(self, masks: Sequence[int]) -> Sections:
        """The texts and programs; `masks` are the kinds of each set."""
        rows = [(*row, 0 if number is None else masks[number]) for *row, number in self._programs]
        return {Section.TEXTS: np.frombuffer(self._texts, "u1"), Section.INSTRUCTIONS: np.array(rows, tf.INSTRUCTION)}


def _normalization_sections(steps: Sequence[Step]) -> Sections:
    if not any(step.kind in _FORMS for step in steps):
        return {}
    tables = normalization_tables()
    index, blocks = two_stage(tables.index)
    records = [(flags, a, b, (m, n)) for flags, a, b, m, n in tables.records]
    return {
        Section.NORM_INDEX: index,
        Section.NORM_BLOCKS: blocks,
        Section.NORM_RECORDS: np.array(records, tf.NORM_RECORD),
        Section.NORM_CHARACTERS: np.array(tables.characters, "<u4"),
        Section.COMPOSITIONS: tf.composition_table(tables.compositions),
    }


def _settings(
    model: _Model, decoder: Decoder, tokens: int, longest: int, prefix: int, word_set: int
) -> NDArray[np.void]:
    options = (
        model.byte_level,
        model.byte_fallback and not model.byte_level,
        model.fuses_unknown,
        decoder.as_bytes,
        decoder.byte_fallback,
        decoder.drops_first,
    )
    flags = sum(1 << bit for bit, option in enumerate(options) if option)
    unknown = tf.NONE if model.unknown is None else model.vocab[model.unknown]
    strip, count = decoder.strip
    characters = (_boundary(model), ord(decoder.space or "\0"), ord(strip or "\0"))
    fields = (flags, tokens, unknown, longest, *characters, count, prefix, 0)
    return np.array([(fields, word_set)], tf.SETTINGS)


def _parse(description: dict[str, Any], sets: CharacterSets) -> list[Any]:
    """All parts, or every reason why one is not supported."""
    parsers: list[Callable[[], Any]] = [
        lambda: _check_model(description["model"]),
        lambda: normalizer_steps(description["normalizer"]),
        lambda: pre_tokenizer_steps(description["pre_tokenizer"], sets),
        lambda: decoder_of(description["decoder"]),
        lambda: template_ids(description["post_processor"]),
    ]
    return all_of(*parsers)[1:]


def convert_tokenizer(tokenizer: FastTokenizer) -> bytes:
    """A tokenizer file that encodes and decodes as the tokenizer does, without truncation and padding.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED names everything in the tokenizer that has no counterpart.
    """
    description = json.loads(tokenizer.to_str())
    sets = CharacterSets()
    normalizer, (steps, byte_level), decoder, (prefix, suffix) = _parse(description, sets)
    if byte_level != decoder.as_bytes:
        raise unsupported("a pre-tokenizer and a decoder of which only one is ByteLevel: that")
    model, added = _model(description["model"], byte_level=byte_level), _added(tokenizer)
    _check_first_piece(normalizer, steps, added)
    words = _words(tokenizer, model)
    word = named("word")
    assert word is not None
    word_number = sets.add(word) if any(token.flags & 4 for token in added) else None
    writer = _StepWriter(sets)
    sections: Sections = {
        Section.NORMALIZER: writer.rows(normalizer),
        Section.PRE_TOKENIZER: writer.rows(steps),
        Section.DECODER: writer.rows(decoder.steps),
        Section.TEMPLATE: np.array([*prefix, *suffix], "<u4"),
    }
    kinds, masks = sets.kinds()
    sections[Section.KIND_INDEX], sections[Section.KIND_BLOCKS] = two_stage(kinds)
    sections |= writer.sections(masks) | _merge_sections(model) | _symbol_sections(model) | _added_sections(added)
    sections |= _token_sections(model, added, words, as_bytes=decoder.as_bytes) | _normalization_sections(normalizer)
    tokens = len(sections[Section.TOKEN_FLAGS])
    word_set = 0 if word_number is None else masks[word_number]
    longest = max(map(len, words), default=0)
    sections[Section.SETTINGS] = _settings(model, decoder, tokens, longest, len(prefix), word_set)
    return tf.file_bytes(sections)
