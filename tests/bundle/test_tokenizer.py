"""Tokenizers come along as they are; goldens tell when another implementation differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pocketlora_export.bundle.tokenizer import GOLDEN_TEXTS, check_goldens, write_tokenizer
from pocketlora_export.bundle.tokenizer_reading import load
from pocketlora_export.errors import PocketLoraError, Status
from tests.support.models import CHAT_TEMPLATE, byte_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tokenizer."""
    folder = tmp_path / "model"
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty bundle."""
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def test_files_template_and_goldens(model: Path, target: Path) -> None:
    entry, _ = write_tokenizer(model, target, 300, 1)
    assert entry is not None
    assert entry.files[0] == "tokenizer.json"
    assert all((target / name).is_file() for name in entry.files)
    assert entry.chat_template is not None
    assert (target / entry.chat_template).read_text("utf-8") == CHAT_TEMPLATE
    assert entry.add_bos
    assert len(entry.goldens) >= 12
    assert {g.text for g in entry.goldens} > set(GOLDEN_TEXTS)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert all(tokenizer.encode(g.text).ids == g.ids for g in entry.goldens)
    special = [g for g in entry.goldens if "</s>before" in g.text]
    assert special
    assert special[0].ids.count(2) == 3


def test_goldens_notice_another_tokenizer(model: Path, target: Path) -> None:
    entry, _ = write_tokenizer(model, target, 300, 1)
    assert entry is not None
    tokenizer = load(target / "tokenizer.json")
    assert check_goldens(tokenizer, entry.goldens) == []
    description = json.loads((target / "tokenizer.json").read_text("utf-8"))
    description["post_processor"] = None
    other = Tokenizer.from_str(json.dumps(description))
    assert len(check_goldens(other, entry.goldens)) == len(entry.goldens)


def test_template_inside_tokenizer_config(model: Path, target: Path) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes {{ x }}"}]
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    entry, _ = write_tokenizer(model, target, 300, 1)
    assert entry is not None
    assert (target / str(entry.chat_template)).read_text("utf-8") == "yes {{ x }}"


def test_no_bos_no_template(model: Path, target: Path) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    (model / "tokenizer_config.json").unlink()
    entry, _ = write_tokenizer(model, target, 300, None)
    assert entry is not None
    assert entry.chat_template is None
    assert not entry.add_bos


def test_no_tokenizer(tmp_path: Path, target: Path) -> None:
    assert write_tokenizer(tmp_path, target, 300, 1) == (None, [])


def test_more_tokens_than_the_model(model: Path, target: Path) -> None:
    with pytest.raises(PocketLoraError, match="has token id 258, but the model's vocabulary ends at 199") as caught:
        write_tokenizer(model, target, 200, 1)
    assert caught.value.status is Status.INPUT_MISMATCH


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_malformed(model: Path, target: Path, name: str) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    (model / name).write_text("{")
    with pytest.raises(PocketLoraError, match=name) as caught:
        write_tokenizer(model, target, 300, 1)
    assert caught.value.status is Status.INPUT_MALFORMED
