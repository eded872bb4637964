"""Templates: how a conversation becomes text, in the form that each was published in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pocketlora_export.data.jsonl import Segment, SourceRow
from pocketlora_export.data.prepare.sample import Sample

# The prompts of Stanford Alpaca's training: an instruction with an input, and one without. The answer follows at once.
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


@dataclass(frozen=True)
class Marks:
    """The special tokens that a template names, as text; None = those of the model that it was made for."""

    bos: str | None = None
    eos: str | None = None


Renderer = Callable[[Sample, Marks], SourceRow]


def render(sample: Sample, template: str, marks: Marks) -> SourceRow:
    """A sample as a row of docs/text-rows.md.

    Raises ValueError when the template has no place for what the sample holds.
    """
    if sample.kind == "text":
        return SourceRow(0, text=sample.text)
    return TEMPLATES[template](sample, marks)


def row_as_json(row: SourceRow) -> dict[str, Any]:
    """The row as it is written."""
    if row.text is not None:
        return {"text": row.text}
    if row.messages is not None:
        return {"messages": list(row.messages)}
    if row.pair is not None:
        return {"prompt": row.pair[0], "completion": row.pair[1]}
    return {"segments": [{"text": piece.text, "label": piece.label} for piece in row.segments or ()]}


def _model(sample: Sample, _: Marks) -> SourceRow:
    return SourceRow(0, messages=sample.messages)


def _none(sample: Sample, _: Marks) -> SourceRow:
    user, answer = sample.single()
    before = "" if sample.system is None else f"{sample.system}\n\n"
    return SourceRow(0, pair=(before + user + ("" if sample.kind == "prompt" else "\n"), answer))


def _alpaca(sample: Sample, _: Marks) -> SourceRow:
    user, answer = sample.single()
    _refuse_system(sample, "alpaca")
    if sample.input:
        return SourceRow(0, pair=(_ALPACA_INPUT.format(instruction=sample.instruction, input=sample.input), answer))
    return SourceRow(0, pair=(_ALPACA.format(instruction=user), answer))


def _phi_2(sample: Sample, _: Marks) -> SourceRow:
    user, answer = sample.single()
    _refuse_system(sample, "phi-2")
    return SourceRow(0, pair=(f"Instruct: {user}\nOutput:", f" {answer}"))


def _chatml(sample: Sample, _: Marks) -> SourceRow:
    def pieces() -> Iterator[Segment]:
        for message in sample.messages:
            learned = message["role"] == "assistant"
            yield Segment(f"<|im_start|>{message['role']}\n", label=False)
            yield Segment(f"{message['content']}<|im_end|>\n", label=learned)

    return SourceRow(0, segments=_merged(pieces()))


def _phi_3(sample: Sample, marks: Marks) -> SourceRow:
    def pieces() -> Iterator[Segment]:
        learned = False
        for message in sample.messages:
            learned = message["role"] == "assistant"
            yield Segment(f"<|{message['role']}|>\n", label=False)
            yield Segment(f"{message['content']}<|end|>\n", label=learned)
        yield Segment("<|endoftext|>" if marks.eos is None else marks.eos, label=learned)

    return SourceRow(0, segments=_merged(pieces()))


def _llama_2(sample: Sample, marks: Marks) -> SourceRow:
    bos, eos = ("<s>" if marks.bos is None else marks.bos), ("</s>" if marks.eos is None else marks.eos)
    turns = [message for message in sample.messages if message["role"] != "system"]
    if sum(message["role"] == "system" for message in sample.messages) > (sample.system is not None):
        raise ValueError("the llama-2 template takes a system message at the start only")
    before = "" if sample.system is None else f"<<SYS>>\n{sample.system}\n<</SYS>>\n\n"

    def pieces() -> Iterator[Segment]:
        for turn, message in enumerate(turns):
            expected = ("user", "assistant")[turn % 2]
            if message["role"] != expected:
                raise ValueError(f"the llama-2 template expects {expected} at turn {turn + 1}, found {message['role']}")
            content = (before if turn == 0 else "") + message["content"]
            if expected == "user":
                yield Segment(f"{bos}[INST] {content.strip()} [/INST]", label=False)
            else:
                yield Segment(f" {content.strip()} {eos}", label=True)

    return SourceRow(0, segments=_merged(pieces()))


def _refuse_system(sample: Sample, name: str) -> None:
    if sample.system is not None:
        raise ValueError(f"the {name} template has no place for a system message")


def _merged(pieces: Iterable[Segment]) -> tuple[Segment, ...]:
    """Neighbours of one kind as one."""
    merged: list[Segment] = []
    for piece in pieces:
        if merged and merged[-1].label == piece.label:
            merged[-1] = Segment(merged[-1].text + piece.text, piece.label)
        else:
            merged.append(piece)
    return tuple(merged)


TEMPLATES: dict[str, Renderer] = {
    "model": _model,
    "alpaca": _alpaca,
    "chatml": _chatml,
    "llama-2": _llama_2,
    "phi-2": _phi_2,
    "phi-3": _phi_3,
    "none": _none,
}
# Tokens that a template spells out, for a warning when a tokenizer does not know them.
SPELLED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "phi-3": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
}
