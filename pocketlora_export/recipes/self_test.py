"""The self-test of a bundle: a small step whose outcome is recorded when the bundle is made (docs/self-test.md)."""

from __future__ import annotations

from pathlib import Path

from pocketlora_export.bundle.manifest import SELF_TEST, Manifest
from pocketlora_export.bundle.reader import open_bundle
from pocketlora_export.bundle.writer import file_entry, write_manifest
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime.engine import Engine, SelfTest, Weights, available_delegates

# Reference arithmetic: our own kernels, no delegate.
_REFERENCE = "cpu"


def _recorder(manifest: Manifest) -> str | None:
    """The backend that records: the reference, else the first of the bundle that can run here."""
    here = set(available_delegates())
    runnable = [program.backend for program in manifest.programs if here.issuperset(program.delegates)]
    return _REFERENCE if _REFERENCE in runnable else next(iter(runnable), None)


def record(folder: Path, manifest: Manifest) -> tuple[Manifest, str | None]:
    """Run the recorded step on a finished bundle and add its outcome.

    Args:
        folder: a bundle whose manifest is written.
        manifest: that manifest.

    Returns:
        The manifest with the new file, written; and None, or why there is no self-test.
    """
    try:
        backend = _recorder(manifest)
        if backend is None:
            return manifest, "no self-test was recorded: none of the bundle's programs can run here"
        # The base may be larger than memory.
        with Engine(folder, backend=backend, weights=Weights.STREAM, self_test=SelfTest.NEVER) as engine:
            engine.record_self_test(folder / SELF_TEST)
    except PocketLoraError as error:
        # A runtime that is missing, too old or short of memory costs the record, not hours of export.
        (folder / SELF_TEST).unlink(missing_ok=True)
        return manifest, f"no self-test was recorded: {error}"
    updated = manifest.model_copy(update={"files": [*manifest.files, file_entry(folder, SELF_TEST)]})
    write_manifest(folder, updated)
    return updated, None


def _run(folder: Path, backend: str) -> PocketLoraError | None:
    """The failure of one backend's self-test."""
    try:
        with Engine(folder, backend=backend, self_test=SelfTest.NEVER) as engine:
            engine.self_test()
    except PocketLoraError as error:
        if error.status in (Status.BACKEND_MISSING, Status.BACKEND_SELF_TEST):
            return error
        raise
    return None


def run_all(folder: Path) -> dict[str, str]:
    """Run the self-test of every backend of a bundle: "passed", or why it did not run here.

    Raises:
        PocketLoraError: BACKEND_SELF_TEST with every backend that fails, INVALID_STATE where nothing is recorded.
    """
    backends = dict.fromkeys(program.backend for program in open_bundle(folder).manifest.programs)
    outcomes = {backend: _run(folder, backend) for backend in backends}
    wrong = [str(error) for error in outcomes.values() if error and error.status == Status.BACKEND_SELF_TEST]
    if wrong:
        raise PocketLoraError(Status.BACKEND_SELF_TEST, "\n".join(wrong))
    return {backend: f"not run: {error}" if error else "passed" for backend, error in outcomes.items()}
