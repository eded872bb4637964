"""Opening a bundle without PyTorch: what docs/manifest.md lists under "Opening" but the programs' ports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pocketlora_export.bundle.files import hash_file
from pocketlora_export.bundle.flat_header import FlatTensorError, StoredEntry, read_flat_header, table_digest
from pocketlora_export.bundle.manifest import CHECKSUM, MANIFEST, SCHEMA_MAJOR, BaseTensor, Manifest
from pocketlora_export.errors import PocketLoraError, Status, raise_all


@dataclass(frozen=True)
class Bundle:
    """A checked bundle."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """Path of one of its files."""
        return self.path / relative


def _read_manifest_bytes(path: Path) -> bytes:
    manifest, checksum = path / MANIFEST, path / CHECKSUM
    if not path.is_dir():
        found = "a file, expected a folder" if path.exists() else "no such bundle"
        raise PocketLoraError(Status.BUNDLE_MISSING_FILE, f"{path}: {found}")
    missing = [f"{file}: missing" for file in (manifest, checksum) if not file.is_file()]
    raise_all(Status.BUNDLE_MISSING_FILE, f"{path} is not a bundle:", missing)
    data = manifest.read_bytes()
    expected = checksum.read_text("utf-8", errors="replace").split()
    found = hashlib.sha256(data).hexdigest()
    if not expected or expected[0] != found:
        message = f"{manifest}: SHA-256 is {found}, {CHECKSUM} says {expected[0] if expected else 'nothing'}"
        raise PocketLoraError(Status.BUNDLE_CORRUPT, message)
    return data


def _check_version(path: Path, document: Any) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    major = str(version).partition(".")[0]
    if not isinstance(version, str) or not major.isdigit():
        raise PocketLoraError(Status.BUNDLE_CORRUPT, f"{path}: schema_version: expected MAJOR.MINOR, found {version!r}")
    if int(major) != SCHEMA_MAJOR:
        message = f"{path}: schema version {version} is not supported: this version reads {SCHEMA_MAJOR}.x"
        raise PocketLoraError(Status.BUNDLE_VERSION, message)


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Parse and validate. `path` only names the file in messages.

    Raises:
        PocketLoraError: BUNDLE_VERSION for an unknown major version, BUNDLE_CORRUPT with every malformed key otherwise.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise PocketLoraError(Status.BUNDLE_CORRUPT, f"{path}: not JSON ({error})") from error
    _check_version(path, document)
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r:.80}" for e in error.errors()]
    problem = "\n".join([f"{path} is not a valid manifest:", *(f"  - {line}" for line in lines)])
    raise PocketLoraError(Status.BUNDLE_CORRUPT, problem)


def _size_problems(bundle: Bundle) -> tuple[list[str], list[str]]:
    """Missing files, and files of another size."""
    missing, damaged = [], []
    for entry in bundle.manifest.files:
        path = bundle.file(entry.path)
        if not path.is_file():
            missing.append(f"{path}: missing")
        elif path.stat().st_size != entry.size:
            damaged.append(f"{path}: expected {entry.size} bytes, found {path.stat().st_size}")
    return missing, damaged


def small_file_problems(bundle: Bundle) -> list[str]:
    """Files whose SHA-256 is not the manifest's, base.ptd left out."""
    return [
        f"{bundle.file(entry.path)}: SHA-256 is not the one in {MANIFEST}: the file is damaged"
        for entry in bundle.manifest.files
        if entry.path != bundle.manifest.base.file and hash_file(bundle.file(entry.path)) != entry.sha256
    ]


def _expected_layout(tensor: BaseTensor) -> tuple[str, tuple[int, ...], int]:
    return tensor.dtype, tuple(tensor.shape), tensor.nbytes


def base_problems(bundle: Bundle) -> list[str]:
    """Differences between the header of base.ptd and the manifest."""
    path = bundle.file(bundle.manifest.base.file)
    try:
        if table_digest(path) != (bundle.manifest.base.table_bytes, bundle.manifest.base.table_sha256):
            return [f"{path}: its table of tensors is damaged (SHA-256)"]
        found: dict[str, StoredEntry] = {entry.name: entry for entry in read_flat_header(path)}
    except FlatTensorError as error:
        return [f"{path}: {error}"]
    problems = []
    for tensor in bundle.manifest.base.tensors:
        entry = found.pop(tensor.name, None)
        if entry is None:
            problems.append(f"{path}: {tensor.name} is missing")
        elif (entry.dtype, entry.shape, entry.nbytes) != _expected_layout(tensor):
            problems.append(
                f"{path}: {tensor.name}: expected {tensor.dtype}{tensor.shape}, found {entry.dtype}{list(entry.shape)}"
            )
        elif entry.offset % 4096 or entry.offset + entry.nbytes > path.stat().st_size:
            problems.append(f"{path}: {tensor.name}: bad offset {entry.offset}")
    return problems + [f"{path}: {name} is not in {MANIFEST}" for name in found]


def read_manifest(path: Path) -> Bundle:
    """Read manifest.json, check its checksum and version; touch nothing else."""
    return Bundle(path, parse_manifest(_read_manifest_bytes(path), path / MANIFEST))


def open_bundle(path: Path | str) -> Bundle:
    """Open a bundle: manifest, presence and size of every file, SHA-256 of all but base.ptd, header of base.ptd.

    Raises:
        PocketLoraError: BUNDLE_MISSING_FILE, BUNDLE_VERSION, BUNDLE_CORRUPT or BUNDLE_MISMATCH, with every problem.
    """
    bundle = read_manifest(Path(path))
    if bundle.manifest.file(bundle.manifest.base.file) is None:
        raise PocketLoraError(
            Status.BUNDLE_CORRUPT, f"{bundle.path / MANIFEST}: files does not list {bundle.manifest.base.file}"
        )
    missing, damaged = _size_problems(bundle)
    raise_all(Status.BUNDLE_MISSING_FILE, f"{path} is not complete:", missing + damaged if missing else [])
    raise_all(Status.BUNDLE_CORRUPT, f"{path} is damaged:", damaged)
    raise_all(Status.BUNDLE_CORRUPT, f"{path} is damaged:", small_file_problems(bundle))
    raise_all(Status.BUNDLE_MISMATCH, f"{path} does not fit its {MANIFEST}:", base_problems(bundle))
    return bundle
