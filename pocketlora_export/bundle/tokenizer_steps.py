"""The parts of a tokenizer.json as steps of a tokenizer file; what has no step is refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from pocketlora_export.bundle.tokenizer_characters import CharacterSets, named
from pocketlora_export.bundle.tokenizer_pattern import Instruction, compile_literal, compile_pattern, compile_set
from pocketlora_export.errors import PocketLoraError, Status

# The pattern that ByteLevel brings along.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class StepKind(IntEnum):
    """Kinds of steps."""

    PREPEND = 0
    REPLACE = 1
    NFC = 2
    NFD = 3
    NFKC = 4
    NFKD = 5
    SPLIT = 6
    PREPEND_PIECE = 7


class Behavior(IntEnum):
    """What becomes of the matches of a split."""

    REMOVED = 0
    ISOLATED = 1
    MERGED_WITH_PREVIOUS = 2
    MERGED_WITH_NEXT = 3
    CONTIGUOUS = 4


_BEHAVIORS = {
    "Removed": Behavior.REMOVED,
    "Isolated": Behavior.ISOLATED,
    "MergedWithPrevious": Behavior.MERGED_WITH_PREVIOUS,
    "MergedWithNext": Behavior.MERGED_WITH_NEXT,
    "Contiguous": Behavior.CONTIGUOUS,
}


@dataclass(frozen=True)
class Step:
    """One step; `program` is the pattern of a split."""

    kind: StepKind
    text: str = ""
    content: str = ""
    behavior: Behavior = Behavior.REMOVED
    inverted: bool = False
    only_at_start: bool = False
    program: tuple[Instruction, ...] = ()


@dataclass
class Decoder:
    """How tokens become text: as bytes, or as texts with replacements."""

    as_bytes: bool = False
    byte_fallback: bool = False
    space: str = ""
    drops_first: bool = False
    strip: tuple[str, int] = ("", 0)
    steps: list[Step] = field(default_factory=list)


def unsupported(what: str) -> PocketLoraError:
    """A part of tokenizer.json that a tokenizer file cannot say."""
    return PocketLoraError(Status.INPUT_UNSUPPORTED, f"{what} is not supported")


def _flatten(part: dict[str, Any] | None, key: str) -> Iterator[dict[str, Any]]:
    if part is None:
        return
    if part["type"] == "Sequence":
        for inner in part[key]:
            yield from _flatten(inner, key)
    else:
        yield part


def _literal(part: dict[str, Any], where: str) -> str:
    text = part["pattern"].get("String")
    if not text:
        raise unsupported(f"{where}: Replace of the pattern {part['pattern']}")
    return str(text)


def normalizer_steps(part: dict[str, Any] | None) -> list[Step]:
    """Steps of the normalizer."""
    steps = []
    for step in _flatten(part, "normalizers"):
        name = step["type"]
        if name in ("NFC", "NFD", "NFKC", "NFKD"):
            steps.append(Step(StepKind[name]))
        elif name == "Prepend":
            steps.append(Step(StepKind.PREPEND, step["prepend"]))
        elif name == "Replace":
            steps.append(Step(StepKind.REPLACE, _literal(step, "normalizer"), step["content"]))
        else:
            raise unsupported(f"normalizer {name}")
    return steps


def pre_tokenizer_steps(part: dict[str, Any] | None, sets: CharacterSets) -> tuple[list[Step], bool]:
    """Steps of the pre-tokenizer, and whether words are bytes in the end."""
    steps: list[Step] = []
    byte_level = False
    for step in _flatten(part, "pretokenizers"):
        if byte_level:
            raise unsupported(f"pre-tokenizer {step['type']} behind ByteLevel")
        byte_level = step["type"] == "ByteLevel"
        steps += _pre_tokenizer_step(step, sets)
    return steps, byte_level


def _pre_tokenizer_step(step: dict[str, Any], sets: CharacterSets) -> list[Step]:
    name = step["type"]
    if name == "Split":
        return [_split(step, sets)]
    if name == "ByteLevel":
        prefix = [Step(StepKind.PREPEND_PIECE, " ")] if step["add_prefix_space"] else []
        program = tuple(compile_pattern(GPT2_PATTERN, sets)) if step["use_regex"] else ()
        split = [Step(StepKind.SPLIT, behavior=Behavior.ISOLATED, program=program)] if program else []
        return prefix + split
    if name == "Digits":
        numeric = named("numeric")
        assert numeric is not None
        behavior = Behavior.ISOLATED if step["individual_digits"] else Behavior.CONTIGUOUS
        return [Step(StepKind.SPLIT, behavior=behavior, program=tuple(compile_set([numeric], sets)))]
    if name == "Metaspace":
        return _metaspace(step, sets)
    raise unsupported(f"pre-tokenizer {name}")


def _split(step: dict[str, Any], sets: CharacterSets) -> Step:
    kind, text = next(iter(step["pattern"].items()))
    if not text:
        raise unsupported("pre-tokenizer Split with an empty pattern")
    program = compile_literal(text, sets) if kind == "String" else compile_pattern(text, sets)
    return Step(StepKind.SPLIT, behavior=_BEHAVIORS[step["behavior"]], inverted=step["invert"], program=tuple(program))


def _metaspace(step: dict[str, Any], sets: CharacterSets) -> list[Step]:
    space, scheme = step["replacement"], step["prepend_scheme"]
    steps = [Step(StepKind.REPLACE, " ", space)]
    if scheme != "never":
        steps.append(Step(StepKind.PREPEND_PIECE, space, only_at_start=scheme == "first"))
    if step["split"]:
        program = tuple(compile_literal(space, sets))
        steps.append(Step(StepKind.SPLIT, behavior=Behavior.MERGED_WITH_NEXT, program=program))
    return steps


def decoder_of(part: dict[str, Any] | None) -> Decoder:
    """The decoder: ByteLevel, Metaspace, or any number of Replace, then ByteFallback, Fuse and Strip where they are."""
    parts = list(_flatten(part, "decoders"))
    names = [step["type"] for step in parts]
    if names == ["ByteLevel"]:
        return Decoder(as_bytes=True)
    if names == ["Metaspace"]:
        return Decoder(space=parts[0]["replacement"], drops_first=parts[0]["prepend_scheme"] != "never")
    decoder = Decoder()
    order = ["Replace", "ByteFallback", "Fuse", "Strip"]
    known = all(name in order for name in names) and names == sorted(names, key=order.index)
    once = len([n for n in names if n != "Replace"]) == len({*names} - {"Replace"})
    if not names or not known or not once or ("Strip" in names and "Fuse" not in names):
        raise unsupported(f"decoder {', '.join(names) or 'null'}")
    for step in parts:
        if step["type"] == "Replace":
            decoder.steps.append(Step(StepKind.REPLACE, _literal(step, "decoder"), step["content"]))
        if step["type"] == "Strip":
            if step["stop"] != 0:
                raise unsupported(f"decoder Strip with stop {step['stop']}")
            decoder.strip = (step["content"], step["start"])
    decoder.byte_fallback = "ByteFallback" in names
    return decoder


def template_ids(part: dict[str, Any] | None) -> tuple[list[int], list[int]]:
    """The ids that are put before and behind a text."""
    templates = []
    for step in _flatten(part, "processors"):
        if step["type"] == "TemplateProcessing":
            templates.append(step)
        elif step["type"] != "ByteLevel":  # which only trims offsets
            raise unsupported(f"post-processor {step['type']}")
    if not templates:
        return [], []
    names = [next(iter(item.items())) for item in templates[0]["single"]]
    places = [i for i, (kind, item) in enumerate(names) if kind == "Sequence"]
    if len(templates) > 1 or len(places) != 1 or names[places[0]][1]["id"] != "A":
        raise unsupported("a post-processor that puts anything but one text between special tokens")
    specials = templates[0]["special_tokens"]
    ids = [specials[item["id"]]["ids"] if kind == "SpecialToken" else [] for kind, item in names]
    before, behind = ids[: places[0]], ids[places[0] :]
    return list(itertools.chain(*before)), list(itertools.chain(*behind))
