"""Text and conversations to tokens and labels, with transformers as the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pocketlora_export.data.chat import ChatTemplate
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.dataset import RowOptions, load_dataset
from pocketlora_export.data.encoded import IGNORED, Encoded
from pocketlora_export.data.jsonl import Segment
from pocketlora_export.errors import PocketLoraError, Status
from tests.support.models import byte_tokenizer

BOS, EOS = 1, 2
# The assistant's tokens are marked in the way of transformers, which returns them as a mask.
PLAIN = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
HEADERS = (
    "{%- for m in messages %}\n    {{- '<|' + m['role'] + '|>\n' }}\n    {%- if m['role'] == 'assistant' %}\n"
    "        {%- generation %}{{- m['content'] | trim + eos_token + '\n' }}{%- endgeneration %}\n    {%- else %}\n"
    "        {{- m['content'] | trim + eos_token + '\n' }}\n    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|assistant|>\n' }}\n{%- endif %}"
)
USER = {"role": "user", "content": "Hé, you?"}
ANSWER = {"role": "assistant", "content": "Ünïted. "}
CONVERSATIONS = [
    [USER, ANSWER],
    [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER, {"role": "assistant", "content": "No."}],
    [USER, ANSWER, USER],
]


def coder(template: str | None = None, eos: tuple[int, ...] = (EOS,)) -> TextCoder:
    compiled = None if template is None else ChatTemplate(template, {"bos_token": "<s>", "eos_token": "</s>"})
    return TextCoder(fresh_tokenizer(), eos, compiled, Path("a-bundle"))


def fresh_tokenizer() -> Tokenizer:
    return Tokenizer.from_str(byte_tokenizer().backend_tokenizer.to_str())


def oracle(template: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_text_gets_bos_from_the_tokenizer_and_eos_once() -> None:
    expected = [BOS, *byte_tokenizer()("Héllo", add_special_tokens=False)["input_ids"], EOS]
    for text in ("Héllo", "Héllo</s>"):
        encoded = coder().encode_text(text)
        assert encoded.tokens.tolist() == expected
        assert encoded.labels.tolist() == expected


def test_text_without_an_eos_token_gets_none() -> None:
    assert coder(eos=()).encode_text("ab").tokens.tolist() == byte_tokenizer()("ab")["input_ids"]


def test_a_tokenizer_that_truncates_and_pads_does_not() -> None:
    tokenizer = fresh_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    assert len(TextCoder(tokenizer, (EOS,), None, Path("b")).encode_text("abcdef").tokens) == 8


@pytest.mark.parametrize("template", [PLAIN, HEADERS])
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_messages_equal_transformers_in_tokens_and_assistant_mask(
    template: str, messages: list[dict[str, str]]
) -> None:
    expected: Any = oracle(template).apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    encoded = coder(template).encode_messages(messages)
    assert encoded.tokens.tolist() == expected["input_ids"]
    mask = np.array(expected["assistant_masks"], dtype=bool)
    assert mask.any()
    assert encoded.labels.tolist() == np.where(mask, encoded.tokens, IGNORED).tolist()


def labelled(encoded: Encoded) -> list[int]:
    """The labels, without the tokens that have none."""
    return [int(label) for label in encoded.labels if label != IGNORED]


def test_a_pair_is_the_text_of_both_with_the_completion_and_eos_as_labels() -> None:
    encoded = coder().encode_pair("Où? ", "Là.")
    assert encoded.tokens.tolist() == coder().encode_text("Où? Là.").tokens.tolist()
    assert labelled(encoded) == [*fresh_tokenizer().encode("Là.", add_special_tokens=False).ids, EOS]
    everything = coder().encode_pair("Où? ", "Là.", train_on_prompt=True)
    assert everything.labels.tolist() == encoded.tokens.tolist()


def test_a_tokenizer_that_adds_eos_itself_has_it_labelled() -> None:
    tokenizer = fresh_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    encoded = TextCoder(tokenizer, (EOS,), None, Path("b")).encode_pair("a", "b")
    assert encoded.tokens.tolist()[0] == BOS
    assert labelled(encoded) == [encoded.tokens[2], EOS]


@pytest.mark.parametrize("template", [PLAIN, HEADERS])
def test_segments_equal_messages_that_render_to_the_same_text(template: str) -> None:
    compiled = ChatTemplate(template, {"bos_token": "<s>", "eos_token": "</s>"})
    messages = CONVERSATIONS[1]
    pieces, shown = [], ""
    for turn, message in enumerate(messages):
        before = compiled.render(messages[:turn], add_generation_prompt=True)
        after = compiled.render(messages[: turn + 1])
        if message["role"] == "assistant":
            pieces += [Segment(before[len(shown) :], label=False), Segment(after[len(before) :], label=True)]
            shown = after
    encoded, expected = coder().encode_segments(pieces), coder(template).encode_messages(messages)
    assert encoded.tokens.tolist() == expected.tokens.tolist()
    assert encoded.labels.tolist() == expected.labels.tolist()
    everything = coder().encode_segments(pieces, train_on_prompt=True)
    assert everything.labels.tolist() == encoded.tokens.tolist()


def sentencepiece_tokenizer() -> Tokenizer:
    """Words with their space in front, as in Llama 2."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁Q", ":", "▁A", "A", "▁no", "Q"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(":", "isolated")]
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def test_a_token_over_the_border_belongs_to_the_segment_of_its_last_character() -> None:
    tokenizer = sentencepiece_tokenizer()
    encoded = TextCoder(tokenizer, (2,), None, Path("b")).encode_pair("Q: ", "A no")
    assert [tokenizer.id_to_token(token) for token in encoded.tokens] == ["▁Q", ":", "▁A", "▁no", "</s>"]
    assert [tokenizer.id_to_token(token) for token in labelled(encoded)] == ["▁A", "▁no", "</s>"]


def test_train_on_prompt_labels_everything() -> None:
    encoded = coder(PLAIN).encode_messages(CONVERSATIONS[1], train_on_prompt=True)
    assert encoded.labels.tolist() == encoded.tokens.tolist()


@pytest.mark.parametrize("template", [PLAIN, HEADERS])
def test_chat_prompts_equal_transformers(template: str) -> None:
    expected: Any = oracle(template).apply_chat_template([USER], tokenize=True, add_generation_prompt=True)
    ids = expected["input_ids"] if not isinstance(expected, list) else expected
    assert coder(template).encode_chat_prompt([USER]) == ids


def test_templates_see_the_names_of_transformers() -> None:
    template = (
        "{{ {'a': '<é>'} | tojson }}{{ strftime_now('%Y') | length }}{% for i in [1, 2] %}{% break %}{% endfor %}"
    )
    assert ChatTemplate(template, {}).render([USER]) == '{"a": "<é>"}4'


def test_templates_are_kept_in_a_sandbox() -> None:
    for attack in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}"):
        with pytest.raises(ValueError, match="chat template refused"):
            ChatTemplate(attack + "{{ raise_exception('not reached') }}", {}).render([USER])


@pytest.mark.parametrize("content", ["[]", "{", '"text"', "[" * 100_000, b"\xff"])
def test_a_bad_tokenizer_config_is_named_and_the_template_is_not(tmp_path: Path, content: str | bytes) -> None:
    fresh_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text(PLAIN)
    config = tmp_path / "tokenizer_config.json"
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    manifest = {"tokenizer": {"chat_template": "chat_template.jinja"}, "model": {"eos_token_ids": [EOS]}}
    with pytest.raises(PocketLoraError, match=f"^{config}: ") as caught:
        TextCoder.from_bundle(tmp_path, manifest)
    assert caught.value.status == Status.BUNDLE_CORRUPT
    assert "chat_template" not in str(caught.value)


def test_special_tokens_of_other_types_are_passed_over(tmp_path: Path) -> None:
    fresh_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token }}")
    tokens = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": {"lstrip": True}, "unk_token": 3}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokens))
    manifest = {"tokenizer": {"chat_template": "chat_template.jinja"}, "model": {"eos_token_ids": [EOS]}}
    assert TextCoder.from_bundle(tmp_path, manifest).encode_chat_prompt([USER]) == [BOS, EOS]


def test_a_template_that_rewrites_history_is_refused() -> None:
    # The last answer is rendered in another way than the ones before it.
    rewriting = "{% for m in messages %}{{ m.content if loop.last else m.content | upper }}{% endfor %}"
    with pytest.raises(ValueError, match=r"messages\[1\] as a continuation"):
        coder(rewriting).encode_messages(CONVERSATIONS[2])


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_dataset_names_every_row_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        '{"text": "fine"}',
        '{"text": "this one is far too long"}',
        "broken",
        '{"messages": [{"role": "user", "content": "?"}]}',
    )
    with pytest.raises(PocketLoraError) as caught:
        load_dataset(path, coder(PLAIN), RowOptions(max_tokens=12))
    text = str(caught.value)
    assert caught.value.status == Status.INPUT_MALFORMED
    assert f"{path}:2: the row has 26 tokens, the bundle was exported for at most 12" in text
    assert f"{path}:3: not JSON" in text
    assert f"{path}:4: no token to learn from" in text
    assert f"{path}:1" not in text


def test_a_row_that_is_too_long_has_a_status_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"text": "this one is far too long"}')
    with pytest.raises(PocketLoraError, match=f"{path}:1: ") as caught:
        load_dataset(path, coder(), RowOptions(max_tokens=12))
    assert caught.value.status == Status.SEQUENCE_TOO_LONG
    dataset = load_dataset(path, coder(), RowOptions(max_tokens=12, truncate=True))
    assert dataset.truncated == 1
    assert dataset.rows[0].tokens.tolist() == coder().encode_text("this one is far too long").tokens[:12].tolist()


def test_a_row_of_one_token_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"text": ""}')
    with pytest.raises(PocketLoraError, match="expected at least 2 tokens, found 1"):
        load_dataset(path, coder(eos=()), RowOptions(max_tokens=12))


def test_every_kind_of_row_in_one_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        '{"prompt": "ab", "completion": "c"}',
        '{"segments": [{"text": "ab", "label": false}, {"text": "c</s>", "label": true}]}',
        '{"token_ids": [5, 6, 7], "labels": [-100, 6, 7]}',
        '{"token_ids": [5, 6, 7, 8], "lengths": [2, 2]}',
    )
    rows = load_dataset(path, coder(), RowOptions(max_tokens=12, max_segments=2, vocab_size=300)).rows
    c = fresh_tokenizer().encode("c", add_special_tokens=False).ids[0]
    assert [labelled(row) for row in rows] == [[c, EOS], [c, EOS], [6, 7], [5, 6, 7, 8]]
    assert [row.segments for row in rows] == [(5,), (4,), (3,), (2, 2)]
    assert rows[0].tokens.tolist()[1:] == rows[1].tokens.tolist()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"token_ids": [5, 6, 7, 8, 9, 10], "lengths": [2, 2, 2]}', "3 rows are packed into one, .* most 2"),
        ('{"token_ids": [5, 300]}', "expected tokens from 0 to 299, found 300"),
        ('{"token_ids": [5, 6, 7], "labels": [5, -100, -100]}', "no token to learn from"),
        ('{"token_ids": [5, 6, 7, 8], "labels": [5, -100, 7, -100], "lengths": [2, 2]}', "no token to learn from"),
        ('{"segments": [{"text": "abc", "label": false}]}', "no token to learn from"),
    ],
)
def test_rows_of_tokens_that_do_not_fit(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "rows.jsonl", line)
    with pytest.raises(PocketLoraError, match=f"{path}:1: {words}"):
        load_dataset(path, coder(), RowOptions(max_tokens=12, max_segments=2, vocab_size=300))


def test_messages_need_a_template(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"messages": [{"role": "user", "content": "?"}]}')
    with pytest.raises(PocketLoraError, match="a-bundle has no chat template") as caught:
        load_dataset(path, coder(), RowOptions(max_tokens=12))
    assert caught.value.status == Status.INPUT_UNSUPPORTED
