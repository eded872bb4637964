"""The manifest: one schema, its committed JSON Schema, versions and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pocketlora_export.bundle.manifest import Manifest, RelativePath
from pocketlora_export.bundle.reader import parse_manifest, read_manifest
from pocketlora_export.bundle.schema import DEFAULT_PATH, schema_text
from pocketlora_export.errors import PocketLoraError, Status
from tests.support.bundles import Bundled

HERE = Path("manifest.json")


@pytest.fixture
def document(tiny_bundle: Bundled) -> dict[str, Any]:
    """A real manifest as JSON."""
    parsed: dict[str, Any] = json.loads((tiny_bundle.bundle / "manifest.json").read_text("utf-8"))
    return parsed


def _failure(document: object) -> PocketLoraError:
    with pytest.raises(PocketLoraError) as caught:
        parse_manifest(json.dumps(document).encode(), HERE)
    return caught.value


def test_the_committed_schema_is_current() -> None:
    assert DEFAULT_PATH.read_text("utf-8") == schema_text()


def test_round_trip(document: dict[str, Any]) -> None:
    assert json.loads(Manifest.model_validate(document).model_dump_json()) == document


def test_has_exactly_the_documented_keys(document: dict[str, Any]) -> None:
    text = (DEFAULT_PATH.parent / "manifest.md").read_text("utf-8")
    assert all(f'"{key}"' in text for key in document)
    for section in ("model", "quantization", "limits", "adapter", "tokenizer"):
        assert all(f'"{key}"' in text for key in document[section]), section
    assert all(f"`{key}`" in text for key in document["memory"])


@pytest.mark.parametrize("version", ["3.0", "1.0", "17.3"])
def test_other_major_versions_are_refused(document: dict[str, Any], version: str) -> None:
    error = _failure({**document, "schema_version": version})
    assert error.status is Status.BUNDLE_VERSION
    assert f"schema version {version} is not supported" in str(error)


def test_a_newer_version_is_refused_whatever_else_it_holds() -> None:
    assert _failure({"schema_version": "3.0", "surprise": 1}).status is Status.BUNDLE_VERSION


@pytest.mark.parametrize("version", [None, 1, "one", "v1.0"])
def test_no_version(document: dict[str, Any], version: object) -> None:
    assert _failure({**document, "schema_version": version}).status is Status.BUNDLE_CORRUPT


def test_a_newer_minor_version_with_new_keys_is_read(document: dict[str, Any]) -> None:
    document["schema_version"] = "2.7"
    document["limits"]["new_limit"] = 3
    assert parse_manifest(json.dumps(document).encode(), HERE).limits.max_rank == document["limits"]["max_rank"]


def test_every_problem_is_listed(document: dict[str, Any]) -> None:
    del document["model"]["hidden_size"]
    document["limits"]["max_rank"] = -1
    document["files"][0]["sha256"] = "abc"
    error = _failure(document)
    assert error.status is Status.BUNDLE_CORRUPT
    for key in ("model.hidden_size", "limits.max_rank", "files.0.sha256"):
        assert key in str(error)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_not_a_manifest(data: bytes) -> None:
    with pytest.raises(PocketLoraError) as caught:
        parse_manifest(data, HERE)
    assert caught.value.status is Status.BUNDLE_CORRUPT


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "", ".hidden", "a/.git", "a\\b"])
def test_paths_cannot_leave_the_bundle(path: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RelativePath).validate_python(path)


def test_base_identity(tiny_bundle: Bundled) -> None:
    manifest = read_manifest(tiny_bundle.bundle).manifest
    entry = manifest.file("base.ptd")
    assert entry is not None
    assert manifest.base_sha256 == entry.sha256
