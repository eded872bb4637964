"""`verify`: every checksum, and the manifest against what the files really hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.quiet import quiet_imports

EXAMPLES = """\b
Examples:
  pocketlora-export verify out/pocket
  pocketlora-export verify out/pocket --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("bundle", type=click.Path(path_type=Path))
@console.json_option("Print the result as one JSON object on stdout.")
def command(bundle: Path, as_json: bool) -> None:
    """Check every checksum of a bundle, its manifest against its programs, and its tokenizer."""
    quiet_imports()
    from pocketlora_export.bundle.verify import verify_bundle

    with bar() as progress:
        report = verify_bundle(bundle, progress.report)
    if as_json:
        console.print_json({"bundle": str(bundle), "ok": True, **dataclasses.asdict(report)})
        return
    console.note(
        f"{bundle}: {report.files} files ({report.bytes_hashed / 1e6:.1f} MB), {report.base_tensors} base tensors, "
        f"{report.methods} methods and {report.goldens} tokenizer goldens are as the manifest says"
    )
    if report.goldens and report.compact_goldens is None:
        console.note(
            "the C++ tokenizer was not checked: the bundle has no tokenizer.plt, or its library is not built here"
        )
