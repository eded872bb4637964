"""Damaged and contradictory bundles: what opening finds, and what verify finds beyond it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.bundle.reader import open_bundle, read_manifest
from pocketlora_export.bundle.verify import verify_bundle
from pocketlora_export.errors import PocketLoraError, Status
from tests.support.bundles import Bundled

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def bundle(tiny_bundle: Bundled, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(tiny_bundle.bundle, tmp_path / "bundle"))


def _edit_manifest(bundle: Path, edit: Edit) -> None:
    document = json.loads((bundle / "manifest.json").read_text("utf-8"))
    edit(document)
    data = json.dumps(document).encode()
    (bundle / "manifest.json").write_bytes(data)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  manifest.json\n")


def _refresh(bundle: Path, name: str) -> None:
    """Make the manifest agree with a changed file."""
    data = (bundle / name).read_bytes()

    def edit(document: dict[str, Any]) -> None:
        entry = next(f for f in document["files"] if f["path"] == name)
        entry |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    _edit_manifest(bundle, edit)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _failure(action: Callable[[Path], object], bundle: Path, status: Status) -> str:
    with pytest.raises(PocketLoraError) as caught:
        action(bundle)
    assert caught.value.status is status, caught.value
    return str(caught.value)


def test_a_good_bundle(tiny_bundle: Bundled) -> None:
    bundle = open_bundle(tiny_bundle.bundle)
    seen: list[tuple[str, int, int]] = []
    report = verify_bundle(tiny_bundle.bundle, lambda *state: seen.append(state))
    assert report.files == len(bundle.manifest.files)
    assert report.base_tensors == len(bundle.manifest.base.tensors)
    assert report.methods == 11
    assert report.goldens >= 12
    assert any(done == total for what, done, total in seen if what == "hashing base.ptd")


def test_sha256sum_agrees(tiny_bundle: Bundled) -> None:
    digest, name = (tiny_bundle.bundle / "manifest.sha256").read_text().split()
    assert hashlib.sha256((tiny_bundle.bundle / name).read_bytes()).hexdigest() == digest


def test_not_a_bundle(tmp_path: Path) -> None:
    assert "no such bundle" in _failure(open_bundle, tmp_path / "nothing", Status.BUNDLE_MISSING_FILE)
    message = _failure(open_bundle, tmp_path, Status.BUNDLE_MISSING_FILE)
    assert "manifest.json: missing" in message
    assert "manifest.sha256: missing" in message


def test_flipped_manifest(bundle: Path) -> None:
    _flip(bundle / "manifest.json", 200)
    assert "SHA-256" in _failure(read_manifest, bundle, Status.BUNDLE_CORRUPT)


def test_empty_checksum(bundle: Path) -> None:
    (bundle / "manifest.sha256").write_text("")
    assert "says nothing" in _failure(read_manifest, bundle, Status.BUNDLE_CORRUPT)


def test_newer_schema(bundle: Path) -> None:
    _edit_manifest(bundle, lambda d: d.update(schema_version="3.0"))
    assert "3.0" in _failure(open_bundle, bundle, Status.BUNDLE_VERSION)


def test_missing_files_are_all_listed(bundle: Path) -> None:
    (bundle / "base.ptd").unlink()
    (bundle / "programs/cpu/train.pte").unlink()
    message = _failure(open_bundle, bundle, Status.BUNDLE_MISSING_FILE)
    assert "base.ptd: missing" in message
    assert "train.pte: missing" in message


@pytest.mark.parametrize("name", ["base.ptd", "programs/cpu/infer.pte", "tokenizer.json", "config.json"])
def test_truncated_file(bundle: Path, name: str) -> None:
    path = bundle / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: expected {size} bytes, found {size - 1}" in _failure(open_bundle, bundle, Status.BUNDLE_CORRUPT)


@pytest.mark.parametrize("name", ["programs/cpu/train.pte", "programs/cpu/infer.pte", "tokenizer.json", "README.md"])
def test_flipped_bit_in_a_small_file(bundle: Path, name: str) -> None:
    _flip(bundle / name, (bundle / name).stat().st_size // 2)
    assert name in _failure(open_bundle, bundle, Status.BUNDLE_CORRUPT)


@pytest.mark.parametrize("at", [5, 12, 40, 300, 3000])
def test_flipped_bit_in_the_bases_table_is_found_on_opening(bundle: Path, at: int) -> None:
    _flip(bundle / "base.ptd", at)
    assert "base.ptd: " in _failure(open_bundle, bundle, Status.BUNDLE_MISMATCH)


def test_flipped_bit_in_the_base_is_found_by_verify(bundle: Path) -> None:
    _flip(bundle / "base.ptd", (bundle / "base.ptd").stat().st_size - 1)
    open_bundle(bundle)
    assert "base.ptd: SHA-256" in _failure(verify_bundle, bundle, Status.BUNDLE_CORRUPT)


def test_a_file_that_nobody_listed(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"x")
    assert "extra.bin: not listed" in _failure(verify_bundle, bundle, Status.BUNDLE_CORRUPT)


def _rename_tensor(document: dict[str, Any]) -> None:
    document["base"]["tensors"][3]["name"] = "model.renamed"


def _reshape_tensor(document: dict[str, Any]) -> None:
    document["base"]["tensors"][3]["shape"][0] += 1


@pytest.mark.parametrize(
    ("edit", "expected"), [(_rename_tensor, "model.renamed is missing"), (_reshape_tensor, "expected uint8")]
)
def test_base_header_against_manifest(bundle: Path, edit: Edit, expected: str) -> None:
    _edit_manifest(bundle, edit)
    assert expected in _failure(open_bundle, bundle, Status.BUNDLE_MISMATCH)


def _method(document: dict[str, Any], program: int = 0, method: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = document["programs"][program]["methods"][method]
    return found


def _drop_input(document: dict[str, Any]) -> None:
    _method(document)["inputs"].pop()


def _wrong_dtype(document: dict[str, Any]) -> None:
    _method(document)["inputs"][0]["dtype"] = "int64"


def _wrong_output(document: dict[str, Any]) -> None:
    _method(document)["outputs"][0]["shape"][1] += 16


def _too_many_rows(document: dict[str, Any]) -> None:
    _method(document)["t_max"] *= 4


def _static_where_dynamic(document: dict[str, Any]) -> None:
    _method(document, 1, 4)["outputs"][0]["shape"][0] = "N"


def _missing_method(document: dict[str, Any]) -> None:
    _method(document)["name"] = "block_sideways"


def _bad_binding(document: dict[str, Any]) -> None:
    block = document["stages"][0]["blocks"][1]
    block["weights"]["self_attn.q_proj.weight"] = "model.layers.9.self_attn.q_proj.weight"


def _bad_site(document: dict[str, Any]) -> None:
    document["stages"][1]["blocks"][0]["sites"].pop("mlp.up_proj")


def _missing_layer(document: dict[str, Any]) -> None:
    document["stages"][0]["blocks"].pop()


def _wrong_golden(document: dict[str, Any]) -> None:
    document["tokenizer"]["goldens"][2]["ids"] += [0]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (_drop_input, "block_forward: input: the manifest lists"),
        (_wrong_dtype, "hidden: the manifest says int64"),
        (_wrong_output, "output hidden: the manifest says"),
        (_too_many_rows, "block_forward: input hidden"),
        (_static_where_dynamic, "head: output logits"),
        (_missing_method, "method block_sideways is missing"),
        (_bad_binding, "model.layers.9.self_attn.q_proj.weight, which is not in base.ptd"),
        (_bad_site, "mlp.up_proj.lora_A has no site"),
        (_missing_layer, "blocks are not the layers 0 to 1"),
        (_wrong_golden, "golden 'Hello, world!'"),
    ],
)
def test_contradictions_are_found_by_verify(bundle: Path, edit: Edit, expected: str) -> None:
    _edit_manifest(bundle, edit)
    assert expected in _failure(verify_bundle, bundle, Status.BUNDLE_MISMATCH)


def test_a_program_that_is_none(bundle: Path) -> None:
    (bundle / "programs/cpu/infer.pte").write_bytes(b"not a program at all, " * 20)
    _refresh(bundle, "programs/cpu/infer.pte")
    assert "not an ExecuTorch program" in _failure(verify_bundle, bundle, Status.BUNDLE_MISMATCH)
