"""The examples in C, C++ and Java, built against the installed package and run: all three do the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from pocketlora_export.errors import Status
from tests.embed.conftest import call, java_command
from tests.support.bundles import Bundled

pytestmark = pytest.mark.embed

LANGUAGES = ("c", "cpp", "java")
PROMPT, NEW_TOKENS = 4, 12


@dataclass(frozen=True)
class Ran:
    """What an example printed, and the adapter that it wrote."""

    report: dict[str, Any]
    adapter: Path


def run(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(repository: Path, tiny_bundle: Bundled, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The texts of the examples; for C, which does not tokenize, their ids by Hugging Face's library."""
    texts = repository / "examples" / "embed" / "notes.txt"
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    rows = tmp_path_factory.mktemp("rows") / "rows.txt"
    ids = [tokenizer.encode(line).ids for line in texts.read_text().splitlines()]
    rows.write_text("".join(" ".join(map(str, row)) + "\n" for row in ids))
    return {"c": rows, "cpp": texts, "java": texts}


@pytest.fixture(scope="module")
def ran(
    examples: dict[str, list[str]],
    tiny_bundle: Bundled,
    data: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Ran]:
    """Every example's run."""

    def run_one(language: str) -> Ran:
        adapter = tmp_path_factory.mktemp("adapters") / language
        done = run(examples[language], tiny_bundle.bundle, data[language], adapter)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "error" not in done.stderr
        return Ran(json.loads(done.stdout), adapter)

    return {language: run_one(language) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_adapter_is_trained_and_exchanged(
    language: str, ran: dict[str, Ran], prefix: Path, tiny_bundle: Bundled, data: dict[str, Path]
) -> None:
    found = ran[language]
    assert found.report["last_loss"] < 0.8 * found.report["first_loss"]
    assert found.report["base"] == found.report["base_again"] != found.report["adapter"]
    prompt = data["c"].read_text().split()[:PROMPT]
    command = [prefix / "bin" / "pocketlora_run", "generate", tiny_bundle.bundle, "--prompt-ids", ",".join(prompt)]
    command += ["--max-new-tokens", str(NEW_TOKENS)]
    assert json.loads(call(*command))["token_ids"] == found.report["base"]
    assert json.loads(call(*command, "--adapter", found.adapter))["token_ids"] == found.report["adapter"]


def test_all_languages_do_the_same(ran: dict[str, Ran]) -> None:
    first = ran["c"]
    for other in (ran["cpp"], ran["java"]):
        assert other.report == first.report
        tensors = [(one.adapter / "adapter_model.safetensors").read_bytes() for one in (first, other)]
        assert tensors[0] == tensors[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_errors_are_told(
    language: str, examples: dict[str, list[str]], tiny_bundle: Bundled, data: dict[str, Path], tmp_path: Path
) -> None:
    command, good = examples[language], tiny_bundle.bundle
    empty, nonsense = tmp_path / "empty.txt", tmp_path / "nonsense.txt"
    empty.touch()
    nonsense.write_text("1 2 x 4\n" if language == "c" else "\n")
    cases = [
        ((), 2, "usage"),
        ((tmp_path / "no-bundle", data[language], tmp_path / "out"), Status.BUNDLE_MISSING_FILE.exit_code, "no-bundle"),
        ((good, tmp_path / "no-texts", tmp_path / "out"), Status.INPUT_MISSING.exit_code, "no-texts"),
        ((good, empty, tmp_path / "out"), Status.INPUT_MALFORMED.exit_code, "empty.txt"),
        ((good, nonsense, tmp_path / "out"), Status.INPUT_MALFORMED.exit_code, "nonsense.txt"),
    ]
    for arguments, code, text in cases:
        done = run(command, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert text in done.stderr
    assert not (tmp_path / "out").exists()


def test_java_interface(repository: Path, prefix: Path, tiny_bundle: Bundled, tmp_path: Path) -> None:
    """The tests of org.pocketlora; the JVM checks every call of JNI and warns of wrong ones."""
    tests = [repository / "runtime_cpp" / "jni" / "tests"]
    command = java_command(prefix, tests, tmp_path / "classes", "org.pocketlora.tests.AllTests")
    done = run(command, tiny_bundle.bundle, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "passed"), done.stdout + done.stderr
    assert "in native method" not in done.stderr


def test_pkg_config(repository: Path, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C example once more, by a compiler and pkg-config alone."""
    monkeypatch.setenv("PKG_CONFIG_PATH", str(prefix / "lib" / "pkgconfig"))
    flags = call("pkg-config", "--cflags", "--libs", "pocketlora", "pocketlora_tokenizer").split()
    program = tmp_path / "embed_c"
    source = repository / "examples" / "embed" / "c" / "main.c"
    call("gcc", "-std=c99", source, "-o", program, *flags, f"-Wl,-rpath,{prefix / 'lib'}")
    assert run([str(program)]).returncode == 2


@pytest.mark.parametrize("family", ["gcc", "clang"])
def test_headers(family: str, repository: Path, prefix: Path) -> None:
    """The installed headers as C99 and C++17."""
    if shutil.which(family) is None:
        missing = f"{family} is not installed; as root, `make test-embed` installs it"
        # Root is who could have installed it, CI above all: there a skipped test would hide that nobody looked.
        (pytest.fail if os.geteuid() == 0 else pytest.skip)(missing)
    tests, include = repository / "runtime_cpp" / "tests", f"-I{prefix / 'include'}"
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", include)
    call(family, "-std=c99", *strict, tests / "header_c99.c")
    call(family, "-std=c99", *strict, repository / "runtime_cpp" / "tokenizer" / "tests" / "header_c99.c")
    call({"gcc": "g++", "clang": "clang++"}[family], "-std=c++17", *strict, tests / "header_cpp17.cc")


def test_nothing_outside_of_the_prefix_is_needed(prefix: Path) -> None:
    """Besides the system's libraries."""
    for library in sorted((prefix / "lib").glob("*.so")):
        needed = [line.split(" => ")[1].split(" (")[0] for line in call("ldd", library).splitlines() if " => " in line]
        strange = [path for path in needed if not path.startswith((f"{prefix}/", "/lib/", "/lib64/", "/usr/lib/"))]
        assert not strange, f"{library}: {strange}"
