"""Everything that can be checked about a bundle: every checksum, the base, the programs, the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pocketlora_export.bundle.files import hash_file
from pocketlora_export.bundle.programs import program_problems
from pocketlora_export.bundle.reader import Bundle, open_bundle
from pocketlora_export.bundle.references import reference_problems
from pocketlora_export.bundle.tokenizer import check_goldens
from pocketlora_export.bundle.tokenizer_compact import COMPACT, compact_problems
from pocketlora_export.bundle.tokenizer_library import find_library
from pocketlora_export.bundle.tokenizer_reading import TOKENIZER, load, read_chat_template
from pocketlora_export.errors import PocketLoraError, Status, raise_all

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """What was checked and found right."""

    files: int
    bytes_hashed: int
    base_tensors: int
    methods: int
    goldens: int
    compact_goldens: int | None
    """Goldens that the C++ library encodes alike; None without a compact tokenizer or without the library."""


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


def _hash_base(bundle: Bundle, progress: Progress) -> list[str]:
    entry = bundle.manifest.file(bundle.manifest.base.file)
    assert entry is not None, "open_bundle checked it"
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(f"hashing {entry.path}", done, entry.size)

    path = bundle.file(entry.path)
    found = hash_file(path, advance)
    return [] if found == entry.sha256 else [f"{path}: SHA-256 is {found}, the manifest says {entry.sha256}"]


def _unlisted(bundle: Bundle) -> list[str]:
    known = {entry.path for entry in bundle.manifest.files} | {"manifest.json", "manifest.sha256"}
    found = {str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*") if p.is_file()}
    return [f"{bundle.path / name}: not listed in the manifest" for name in sorted(found - known)]


def _tokenizer_problems(bundle: Bundle) -> list[str]:
    entry = bundle.manifest.tokenizer
    if TOKENIZER not in entry.files:
        return []
    path = bundle.file(TOKENIZER)
    try:
        read_chat_template(bundle.path)
        tokenizer = load(path)
    except PocketLoraError as error:
        return [str(error)]
    return [f"{path}: {p}" for p in check_goldens(tokenizer, entry.goldens)] + _compact_problems(bundle)


def _checks_compact(bundle: Bundle) -> bool:
    return COMPACT in bundle.manifest.tokenizer.files and find_library() is not None


def _compact_problems(bundle: Bundle) -> list[str]:
    goldens = bundle.manifest.tokenizer.goldens
    return compact_problems(bundle.file(COMPACT), goldens) if _checks_compact(bundle) else []


def _content_problems(bundle: Bundle, progress: Progress) -> list[str]:
    problems = reference_problems(bundle.manifest)
    programs = bundle.manifest.programs
    for index, program in enumerate(programs):
        progress(f"reading {program.file}", index, len(programs))
        problems += program_problems(bundle.file(program.file), program, bundle.manifest)
    return problems + _tokenizer_problems(bundle)


def verify_bundle(path: Path, progress: Progress = _silent) -> Report:
    """Check a bundle completely.

    Args:
        path: its folder.
        progress: called with (what, done, total).

    Raises:
        PocketLoraError: BUNDLE_MISSING_FILE, BUNDLE_VERSION, BUNDLE_CORRUPT (a damaged file) or BUNDLE_MISMATCH (intact
            files that contradict each other), with every such problem.
    """
    bundle = open_bundle(path)
    raise_all(Status.BUNDLE_CORRUPT, f"{path} is damaged:", _hash_base(bundle, progress) + _unlisted(bundle))
    raise_all(Status.BUNDLE_MISMATCH, f"{path} contradicts itself:", _content_problems(bundle, progress))
    manifest = bundle.manifest
    return Report(
        files=len(manifest.files),
        bytes_hashed=sum(entry.size for entry in manifest.files),
        base_tensors=len(manifest.base.tensors),
        methods=sum(len(program.methods) for program in manifest.programs),
        goldens=len(manifest.tokenizer.goldens),
        compact_goldens=len(manifest.tokenizer.goldens) if _checks_compact(bundle) else None,
    )
