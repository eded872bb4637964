"""`pocketlora_run` with texts: the bundle's compact tokenizer on both ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from pocketlora_export.errors import Status
from tests.support.bundles import Bundled


@pytest.fixture(scope="module")
def program(repository: Path) -> Path:
    library = os.environ.get("POCKETLORA_LIBRARY")
    build = Path(library).parent if library else repository / "build" / "host"
    return build / "tools" / "pocketlora_run"


def run(program: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_text_is_continued_with_text(program: Path, tiny_bundle: Bundled) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    ids = tokenizer.encode("Note: ").ids
    options = ("generate", tiny_bundle.bundle, "--max-new-tokens", 12, "--threads", 1)
    code, found = run(program, *options, "--prompt", "Note: ")
    _, by_ids = run(program, *options, "--prompt-ids", ",".join(map(str, ids)))
    assert code == 0
    assert found["prompt_tokens"] == len(ids)
    assert found["token_ids"] == by_ids["token_ids"]
    assert found["text"] == by_ids["text"] == tokenizer.decode(found["token_ids"])


def test_tokenize(program: Path, tiny_bundle: Bundled) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    text = "Grüße 🙂"
    ids = tokenizer.encode(text).ids
    bundle = tiny_bundle.bundle
    assert run(program, "tokenize", bundle, "--text", text) == (0, {"token_ids": ids})
    assert run(program, "tokenize", bundle, "--ids", ",".join(map(str, ids))) == (0, {"text": text})
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    assert run(program, "tokenize", bundle, "--text", text, "--no-special-tokens") == (0, {"token_ids": plain})
    goldens = json.loads((bundle / "manifest.json").read_text())["tokenizer"]["goldens"]
    assert run(program, "tokenize", bundle, "--goldens") == (0, {"goldens": len(goldens)})


def test_goldens_that_differ(program: Path, tiny_bundle: Bundled, tmp_path: Path) -> None:
    shutil.copy(tiny_bundle.bundle / "tokenizer.plt", tmp_path)
    goldens = [{"text": "a", "ids": [7]}]
    (tmp_path / "manifest.json").write_text(json.dumps({"tokenizer": {"goldens": goldens}}))
    code, found = run(program, "tokenize", tmp_path, "--goldens")
    assert code == Status.BUNDLE_MISMATCH.exit_code
    assert '"a": expected ids [7], found [1,' in found["message"]


def test_a_bundle_without_a_compact_tokenizer(program: Path, tmp_path: Path) -> None:
    code, found = run(program, "tokenize", tmp_path, "--text", "a")
    assert code == Status.INPUT_UNSUPPORTED.exit_code
    assert "takes token ids only" in found["message"]


def test_a_stop_string_ends_the_text_before_it(program: Path, tiny_bundle: Bundled) -> None:
    options = ("generate", tiny_bundle.bundle, "--max-new-tokens", 24, "--threads", 1, "--prompt", "Note: ")
    text = run(program, *options)[1]["text"]
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    code, found = run(program, *options, "--stop", stop, "--stop", "never said")
    assert code == 0
    assert found["text"] == text[: text.index(stop)]
    assert found["stop_reason"] == "stop string"


def test_the_base_stands_in_for_a_missing_adapter(program: Path, tiny_bundle: Bundled, tmp_path: Path) -> None:
    options = ("generate", tiny_bundle.bundle, "--max-new-tokens", 8, "--threads", 1, "--prompt-ids", "3,4,5")
    base = run(program, *options)[1]
    absent = ("--adapter", tmp_path / "absent")
    assert run(program, *options, *absent)[0] == Status.ADAPTER_MISSING_FILE.exit_code
    command = [str(program), *map(str, (*options, *absent)), "--adapter-fallback"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    warning, found = map(json.loads, done.stdout.splitlines())
    assert (warning["event"], warning["code"]) == ("warning", int(Status.ADAPTER_MISSING_FILE))
    assert "absent" in warning["message"]
    assert found["token_ids"] == base["token_ids"]
    assert found["adapter_fallback"] is True
