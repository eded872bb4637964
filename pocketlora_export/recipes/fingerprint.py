"""What the bytes of base.ptd depend on, so that work on another base is never continued."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketlora_export.bundle.checkpoint import TensorEntry
from pocketlora_export.bundle.flat_tensor import ALIGNMENT
from pocketlora_export.bundle.manifest import SCHEMA_VERSION
from pocketlora_export.bundle.writer import generator
from pocketlora_export.quantize.source import Source
from pocketlora_export.quantize.stored import StoredTensor
from pocketlora_export.quantize.stream import PIECE_ELEMENTS
from pocketlora_export.recipes.recipe import Recipe


def _file(path: Path, entries: Sequence[TensorEntry]) -> dict[str, Any]:
    """A file of weights without reading its weights: size, time of change and what its header says."""
    facts = path.stat()
    table = json.dumps([[e.name, e.dtype, e.shape, e.offset, e.nbytes] for e in entries])
    return {
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "header_sha256": hashlib.sha256(table.encode("utf-8", "surrogatepass")).hexdigest(),
    }


def fingerprint(source: Source, recipe: Recipe, tensors: Sequence[StoredTensor]) -> dict[str, Any]:
    """The identity of a job as JSON: its sources, its recipe, the tools and the layout."""
    by_file: dict[Path, list[TensorEntry]] = {}
    for entry in source.tensors.values():
        by_file.setdefault(entry.path, []).append(entry)
    stored = json.dumps([dataclasses.asdict(tensor) for tensor in tensors])
    return {
        "weights": {str(path.resolve()): _file(path, entries) for path, entries in sorted(by_file.items())},
        "config.json": source.config,
        "recipe": recipe.model_dump(mode="json"),
        "tools": generator(),
        "layout": {
            "schema": SCHEMA_VERSION,
            "alignment": ALIGNMENT,
            "piece": PIECE_ELEMENTS,
            "tensors_sha256": hashlib.sha256(stored.encode("utf-8", "surrogatepass")).hexdigest(),
        },
    }
