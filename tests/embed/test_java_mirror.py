"""What org.pocketlora repeats of pocketlora.h: statuses, enums, options, reports. Read from sources, without a JDK."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pocketlora_export.errors import Status

ENUMS = {
    "pl_weights": "Weights",
    "pl_cache_dtype": "CacheDtype",
    "pl_compute": "Compute",
    "pl_optimizer": "Optimizer",
    "pl_schedule": "Schedule",
    "pl_activations": "Activations",
    "pl_loss": "Loss",
    "pl_recompute": "Recompute",
    "pl_self_test": "SelfTest",
}
PREFIXES = {"pl_cache_dtype": "PL_CACHE", "pl_optimizer": "PL"}
OPTIONS = {
    "pl_engine_options": "EngineOptions",
    "pl_session_options": "SessionOptions",
    "pl_generate_options": "GenerateOptions",
    "pl_trainer_options": "TrainerOptions",
}
REPORTS = {
    "pl_engine_info": "EngineInfo",
    "pl_memory": "MemoryReport",
    "pl_session_info": "SessionInfo",
    "pl_generate_report": "GenerateReport",
    "pl_step_report": "StepReport",
    "pl_progress": "TrainingProgress",
    "pl_validation": "Validation",
    "pl_checkpoint": "Checkpoint",
    "pl_eval_report": "EvalReport",
}
# Java's arrays know their length.
NOT_IN_JAVA = {"structSize", "numStopTokens"}


@pytest.fixture(scope="module")
def header(repository: Path) -> str:
    text = (repository / "runtime_cpp" / "include" / "pocketlora" / "pocketlora.h").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def java(repository: Path, name: str) -> str:
    text = (repository / "runtime_cpp" / "jni" / "java" / "org" / "pocketlora" / f"{name}.java").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def body(header: str, name: str) -> str:
    found = re.search(rf"typedef (?:struct|enum) {name} \{{(.*?)\}} {name};", header, re.DOTALL)
    assert found, name
    return found.group(1)


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def fields(header: str, struct: str) -> set[str]:
    """The names of a struct's fields, as Java writes them."""
    declared = [part.strip() for part in body(header, struct).split(";") if part.strip()]
    names = [re.sub(r"^.*[\s*]", "", name.strip()) for part in declared for name in part.split(",")]
    return {camel_case(name) for name in names} - NOT_IN_JAVA


def test_statuses(repository: Path) -> None:
    found = re.findall(r"([A-Z_]+)\((\d+)\)", java(repository, "Status"))
    assert {name: int(code) for name, code in found} == {status.name: int(status) for status in Status}


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_enums(name: str, header: str, repository: Path) -> None:
    """Native code takes the ordinal for the number."""
    prefix = PREFIXES.get(name, name.upper())
    numbered = re.findall(rf"{prefix}_(\w+) = (\d+)", body(header, name))
    constants = re.search(r"enum \w+ \{(.*)\}", java(repository, ENUMS[name]), re.DOTALL)
    assert constants
    names = [constant.strip() for constant in constants.group(1).split(",")]
    assert [(constant, str(i)) for i, constant in enumerate(names)] == numbered


@pytest.mark.parametrize("struct", sorted(OPTIONS))
def test_options(struct: str, header: str, repository: Path) -> None:
    """Each can be set, and native code reads it."""
    text = java(repository, OPTIONS[struct])
    setters = set(re.findall(rf"public {OPTIONS[struct]} (\w+)\(", text))
    assert setters == fields(header, struct)
    native = "".join(path.read_text() for path in (repository / "runtime_cpp" / "jni" / "src").glob("*.cc"))
    unread = [name for name in setters if not re.search(rf'read(?:->|\.)\w+\("{name}"', native)]
    assert not unread


@pytest.mark.parametrize("struct", sorted(REPORTS))
def test_reports(struct: str, header: str, repository: Path) -> None:
    found = re.findall(r"public final [\w\[\]]+ (\w+);", java(repository, REPORTS[struct]))
    assert set(found) == fields(header, struct)
