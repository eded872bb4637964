"""Every kind of row in every template: against transformers with the models' own templates, or the published text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from pocketlora_export.data.chat import ChatTemplate
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.dataset import encode_row
from pocketlora_export.data.encoded import IGNORED
from pocketlora_export.data.jsonl import SourceRow
from pocketlora_export.data.prepare.options import PrepareOptions
from pocketlora_export.data.prepare.sample import parse_sample
from pocketlora_export.data.prepare.templates import Marks, render, row_as_json
from pocketlora_export.data.prepare.tokenizer import TokenizerSource
from tests.data.prepare.conftest import Job, lines
from tests.support.models import byte_tokenizer

# As published: the chat markup language; Llama-2-7b-chat-hf; Phi-3-mini-4k-instruct.
CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
CHAT_TEMPLATES = {"chatml": CHATML, "llama-2": LLAMA_2, "phi-3": PHI_3}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


SYSTEM = {"role": "system", "content": "Be brief."}
# kind -> a row, and the conversation that it is.
KINDS: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "qa": ({"question": "Où?", "answer": "Là."}, [user("Où?"), assistant("Là.")]),
    "instruction": (
        {"instruction": "Sort.", "input": "b a", "output": "a b"},
        [user("Sort.\n\nb a"), assistant("a b")],
    ),
    "instruction alone": ({"instruction": "Greet.", "output": "Hi!"}, [user("Greet."), assistant("Hi!")]),
    "prompt": ({"prompt": "2 + 2 =", "completion": " 4"}, [user("2 + 2 ="), assistant(" 4")]),
    "system": ({"question": "Why?", "answer": "So.", "system": "Be brief."}, [SYSTEM, user("Why?"), assistant("So.")]),
    "chat": (
        {"messages": [SYSTEM, user("One?"), assistant("Uno."), user(" Two?"), assistant("Dos. ")]},
        [SYSTEM, user("One?"), assistant("Uno."), user(" Two?"), assistant("Dos.")],
    ),
}


def rendered(row: dict[str, Any], template: str, marks: Marks | None = None) -> SourceRow:
    return render(parse_sample(row, PrepareOptions()), template, marks or Marks())


def oracle(template: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    if template == PHI_3:
        tokenizer.eos_token = "<|endoftext|>"
    return tokenizer


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_chat_templates_equal_transformers(kind: str, name: str) -> None:
    row, messages = KINDS[kind]
    expected = oracle(CHAT_TEMPLATES[name]).apply_chat_template(messages, tokenize=False)
    assert "".join(piece.text for piece in rendered(row, name).segments or ()) == expected


@pytest.mark.parametrize("name", ["chatml", "llama-2"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_those_of_the_same_template_in_a_bundle(kind: str, name: str) -> None:
    row, messages = KINDS[kind]
    tokenizer = Tokenizer.from_str(byte_tokenizer().backend_tokenizer.to_str())
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    coder = TextCoder(tokenizer, (2,), ChatTemplate(CHAT_TEMPLATES[name], special), Path("b"))
    expected, found = coder.encode_messages(messages), encode_row(rendered(row, name), coder)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.labels.tolist() == expected.labels.tolist()
    assert 0 < (found.labels == IGNORED).sum() < len(found.labels)


def test_labels_of_phi_3() -> None:
    # Its template ends every conversation, so no rendering continues another and a bundle cannot tell the turns apart.
    segments = rendered(KINDS["chat"][0], "phi-3").segments or ()
    assert [piece.text for piece in segments if piece.label] == ["Uno.<|end|>\n", "Dos.<|end|>\n<|endoftext|>"]


ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nSort.\n\n### Input:\nb a\n\n### Response:"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:"
)
PAIRS = {
    ("alpaca", "qa"): (ALPACA.format("Où?"), "Là."),
    ("alpaca", "instruction"): (ALPACA_INPUT, "a b"),
    ("alpaca", "instruction alone"): (ALPACA.format("Greet."), "Hi!"),
    ("alpaca", "prompt"): (ALPACA.format("2 + 2 ="), " 4"),
    ("phi-2", "qa"): ("Instruct: Où?\nOutput:", " Là."),
    ("phi-2", "instruction"): ("Instruct: Sort.\n\nb a\nOutput:", " a b"),
    ("phi-2", "instruction alone"): ("Instruct: Greet.\nOutput:", " Hi!"),
    ("phi-2", "prompt"): ("Instruct: 2 + 2 =\nOutput:", "  4"),
    ("none", "qa"): ("Où?\n", "Là."),
    ("none", "instruction"): ("Sort.\n\nb a\n", "a b"),
    ("none", "instruction alone"): ("Greet.\n", "Hi!"),
    ("none", "prompt"): ("2 + 2 =", " 4"),
    ("none", "system"): ("Be brief.\n\nWhy?\n", "So."),
}


@pytest.mark.parametrize(("template", "kind"), PAIRS)
def test_templates_of_one_question_and_one_answer(template: str, kind: str) -> None:
    row = rendered(KINDS[kind][0], template)
    assert row.pair == PAIRS[template, kind]
    assert row_as_json(row) == dict(zip(("prompt", "completion"), PAIRS[template, kind], strict=True))


@pytest.mark.parametrize("template", ["model", *CHAT_TEMPLATES, "alpaca", "phi-2", "none"])
def test_text_takes_no_template(template: str) -> None:
    assert row_as_json(rendered({"text": "As it is."}, template)) == {"text": "As it is."}


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_own_template_is_left_to_the_bundle(kind: str) -> None:
    row, messages = KINDS[kind]
    assert row_as_json(rendered(row, "model")) == {"messages": messages}


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_own_template_in_tokens_equals_transformers(kind: str, repository: Path, job: Job) -> None:
    folder = repository / "models" / "pocket-llama-4m"
    row, messages = KINDS[kind]
    (found,) = job({"a.jsonl": lines(row)}, TokenizerSource(folder, bundle=False), tokenize=True).rows()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    expected: Any = tokenizer.apply_chat_template(messages, tokenize=True)
    assert found["token_ids"] == (expected if isinstance(expected, list) else expected["input_ids"])
    labels = np.array(found["labels"])
    answers = "".join(m["content"] + "<|im_end|>\n" for m in messages if m["role"] == "assistant")
    assert tokenizer.decode(labels[labels != IGNORED]) == answers


@pytest.mark.parametrize(
    ("template", "row", "words"),
    [
        (
            "alpaca",
            KINDS["chat"][0],
            "expected one user message and one answer, found user, assistant, user, assistant",
        ),
        ("none", {"messages": [assistant("a")]}, "expected one user message and one answer, found assistant"),
        ("alpaca", KINDS["system"][0], "alpaca template has no place for a system message"),
        ("phi-2", KINDS["system"][0], "phi-2 template has no place for a system message"),
        ("llama-2", {"messages": [assistant("a")]}, "expects user at turn 1, found assistant"),
        ("llama-2", {"messages": [user("a"), assistant("b"), SYSTEM]}, "a system message at the start only"),
    ],
)
def test_what_a_template_has_no_place_for(template: str, row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rendered(row, template)


def test_marks_of_the_tokenizer_replace_those_of_the_template() -> None:
    segments = rendered(KINDS["qa"][0], "llama-2", Marks("<|bos|>", "<|eos|>")).segments or ()
    assert "".join(piece.text for piece in segments) == "<|bos|>[INST] Où? [/INST] Là. <|eos|>"
