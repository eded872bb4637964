"""The last step of making a bundle: every file hashed, then the manifest and its checksum."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

from pocketlora_export import __version__
from pocketlora_export.bundle.files import hash_file
from pocketlora_export.bundle.manifest import CHECKSUM, MANIFEST, File, Manifest

_TOOLS = ("torch", "executorch", "torchao", "transformers")


def generator() -> dict[str, str]:
    """Versions of what made the bundle."""
    return {"pocketlora": __version__} | {name: importlib.metadata.version(name) for name in _TOOLS}


def file_entry(folder: Path, name: str, known: str | None = None) -> File:
    """The manifest's entry of one file. `known`: its SHA-256, if it was taken already."""
    path = folder / name
    return File(path=name, size=path.stat().st_size, sha256=known or hash_file(path))


def list_files(folder: Path, known: dict[str, str]) -> list[File]:
    """Every file of a folder with size and SHA-256.

    Args:
        folder: the bundle, still without manifest.
        known: hashes taken while writing, by relative path.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [file_entry(folder, name, known.get(name)) for name in names]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json and manifest.sha256."""
    data = (manifest.model_dump_json(indent=1) + "\n").encode("utf-8")
    (folder / MANIFEST).write_bytes(data)
    (folder / CHECKSUM).write_text(f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n", "utf-8")
