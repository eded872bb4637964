"""`verify`: every checksum of a bundle or of a training run's folder, and what the files say of each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pocketlora_export.adapters.artifact_verify import is_adapter_folder, verify_artifact
from pocketlora_export.adapters.checksums import CHECKSUMS_NAME
from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.quiet import quiet_imports
from pocketlora_export.errors import PocketLoraError, Status

EXAMPLES = """\b
Examples:
  pocketlora-export verify out/pocket
  pocketlora-export verify out/pocket --run --json
  pocketlora-export verify out/notes-adapter --bundle out/pocket
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--bundle", type=click.Path(path_type=Path), help="FOLDER is a training run's: also check that it fits this base."
)
@click.option("--run", is_flag=True, help="FOLDER is a bundle: also run its self-test with every backend it has.")
@console.json_option("Print the result as one JSON object on stdout.")
def command(folder: Path, bundle: Path | None, run: bool, as_json: bool) -> None:
    """Check every checksum of a bundle, its manifest against its programs, and its tokenizer.

    Or every file of the folder that `train` writes: checksums, tensors, and what was trained with (docs/artifact.md).
    """
    if is_adapter_folder(folder):
        if run:
            raise PocketLoraError(Status.INVALID_ARGUMENT, f"--run is for a bundle, which {folder} is not")
        _verify_artifact(folder, bundle, as_json)
        return
    if bundle is not None:
        raise PocketLoraError(
            Status.INVALID_ARGUMENT, f"--bundle is for the folder of a training run, which {folder} is not"
        )
    _verify_bundle(folder, run, as_json)


def _verify_artifact(folder: Path, bundle: Path | None, as_json: bool) -> None:
    report = verify_artifact(folder, bundle)
    if as_json:
        console.print_json({"artifact": str(folder), "ok": True, **dataclasses.asdict(report)})
        return
    console.note(
        f"{folder}: {report.files} files ({report.bytes_hashed / 1e6:.1f} MB) are as {CHECKSUMS_NAME} says, "
        f"{report.tensors} tensors ({report.parameters} parameters) as the config says; {report.steps} steps, "
        f"{report.events} events" + ("" if bundle is None else f"; it fits {bundle}")
    )


def _verify_bundle(bundle: Path, run: bool, as_json: bool) -> None:
    quiet_imports()
    from pocketlora_export.bundle.verify import verify_bundle
    from pocketlora_export.recipes.self_test import run_all

    with bar() as progress:
        report = verify_bundle(bundle, progress.report)
        outcomes = run_all(bundle) if run else {}
    if as_json:
        extra = {"self_test": outcomes} if run else {}
        console.print_json({"bundle": str(bundle), "ok": True, **dataclasses.asdict(report), **extra})
        return
    for backend, outcome in outcomes.items():
        console.note(f"self-test of backend '{backend}': {outcome}")
    console.note(
        f"{bundle}: {report.files} files ({report.bytes_hashed / 1e6:.1f} MB), {report.base_tensors} base tensors, "
        f"{report.methods} methods and {report.goldens} tokenizer goldens are as the manifest says"
    )
    if report.goldens and report.compact_goldens is None:
        console.note(
            "the C++ tokenizer was not checked: the bundle has no tokenizer.plt, or its library is not built here"
        )
