"""The ctypes binding against the header: layouts, enums, prototypes, as the C compiler sees them."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import library as library_module
from pocketlora_export.runtime.engine import SelfTest, Weights
from pocketlora_export.runtime.library import LIBRARY_VARIABLE, PROTOTYPES, find_library
from pocketlora_export.runtime.session import CACHE_DTYPES, COMPUTES
from pocketlora_export.runtime.structs import ABI_VERSION, STRUCTS
from pocketlora_export.runtime.training import Activations, Loss, Optimizer, Recompute, Schedule
from pocketlora_export.runtime.watch import AdapterChange

COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def header(repository: Path) -> str:
    text = (repository / "runtime_cpp" / "include" / "pocketlora" / "pocketlora.h").read_text()
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def struct_bodies(header: str) -> dict[str, str]:
    return {name: body for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", header, re.DOTALL)}


def field_names(body: str) -> list[str]:
    """The names declared by `type a, b; type c;`."""
    declarations = [part.strip() for part in body.split(";") if part.strip()]
    return [re.findall(r"\w+", name)[-1] for declaration in declarations for name in declaration.split(",")]


def c_values(header: str, repository: Path, tmp_path: Path) -> list[tuple[str, int]]:
    """What the compiler says of every struct, field and enumerator."""
    expressions = [f"sizeof({name})" for name in STRUCTS]
    for name, body in struct_bodies(header).items():
        for field in field_names(body):
            expressions += [f"offsetof({name}, {field})", f"sizeof((({name}*)0)->{field})"]
    expressions += re.findall(r"\b(PL_\w+) = ", header) + ["PL_ABI_VERSION"]
    prints = "\n".join(f'printf("%s\\t%lld\\n", "{e}", (long long)({e}));' for e in expressions)
    source = tmp_path / "layout.c"
    includes = "#include <pocketlora/pocketlora.h>\n#include <stdio.h>\n"
    source.write_text(f"{includes}int main(void) {{\n{prints}\nreturn 0; }}\n")
    include = repository / "runtime_cpp" / "include"
    command = [
        str(COMPILER),
        "-std=c99",
        "-Wall",
        "-Werror",
        f"-I{include}",
        str(source),
        "-o",
        str(tmp_path / "layout"),
    ]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    return [(e, int(value)) for e, value in (line.split("\t") for line in printed.splitlines())]


@pytest.fixture(scope="module")
def values(header: str, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    assert COMPILER is not None, "this test needs a C compiler"
    return dict(c_values(header, repository, tmp_path_factory.mktemp("layout")))


def test_every_struct_is_bound(header: str) -> None:
    assert set(struct_bodies(header)) == set(STRUCTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_struct_layouts(name: str, header: str, values: dict[str, int]) -> None:
    struct = STRUCTS[name]
    names = [field[0] for field in struct._fields_]
    assert names == field_names(struct_bodies(header)[name])
    assert ctypes.sizeof(struct) == values[f"sizeof({name})"]
    for field in names:
        descriptor = getattr(struct, field)
        assert descriptor.offset == values[f"offsetof({name}, {field})"], field
        assert descriptor.size == values[f"sizeof((({name}*)0)->{field})"], field


def test_status_codes_and_optimizers(values: dict[str, int]) -> None:
    enumerators = {name.removeprefix("PL_"): value for name, value in values.items() if name.startswith("PL_")}
    assert enumerators.pop("ABI_VERSION") == ABI_VERSION
    optimizers = {optimizer.name: enumerators.pop(optimizer.name) for optimizer in Optimizer}
    assert optimizers == {optimizer.name: optimizer.value for optimizer in Optimizer}
    enums = {
        "WEIGHTS_": Weights,
        "ACTIVATIONS_": Activations,
        "RECOMPUTE_": Recompute,
        "SCHEDULE_": Schedule,
        "LOSS_": Loss,
        "SELF_TEST_": SelfTest,
        "WATCH_": AdapterChange,
    }
    for prefix, enum in enums.items():
        found = {member.name: enumerators.pop(prefix + member.name) for member in enum}
        assert found == {member.name: member.value for member in enum}
    for prefix, names in (("CACHE_", CACHE_DTYPES), ("COMPUTE_", COMPUTES)):
        told = {f"{prefix}{name.replace('fp', 'FLOAT').upper()}": value for value, name in enumerate(names)}
        assert {name: enumerators.pop(name) for name in told} == told
    assert enumerators == {status.name: status.value for status in Status}


def test_every_function_is_bound_with_its_number_of_arguments(header: str) -> None:
    declared = re.findall(r"PL_API [\w\s*]*?\b(pl_\w+)\((.*?)\);", header, re.DOTALL)
    counts = {name: 0 if arguments.strip() == "void" else arguments.count(",") + 1 for name, arguments in declared}
    assert counts == {name: len(arguments) for name, (_, arguments) in PROTOTYPES.items()}


def test_status_table_of_the_document(repository: Path) -> None:
    text = (repository / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| [\w/ ]+ \| (.*?) \| (\d+)", text, re.MULTILINE)
    table = {
        int(code): (name, int(exit_code))
        for codes, exit_code in rows
        for code, name in re.findall(r"(\d+) `(\w+)`", codes)
    }
    assert table == {int(status): (status.name, status.exit_code) for status in Status}


def test_a_missing_library_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "absent.so"))
    with pytest.raises(PocketLoraError, match=r"absent\.so(.|\n)*make build") as caught:
        find_library()
    assert caught.value.status == Status.BACKEND_MISSING


def test_something_else_than_the_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = tmp_path / "impostor.so"
    monkeypatch.setenv(LIBRARY_VARIABLE, str(impostor))
    impostor.write_text("not a library")
    load = library_module.library.__wrapped__
    with pytest.raises(PocketLoraError, match="cannot be loaded"):
        load()
    subprocess.run([str(COMPILER), "-shared", "-x", "c", "/dev/null", "-o", str(impostor)], check=True)
    with pytest.raises(PocketLoraError, match="lacks pl_abi_version, "):
        load()
