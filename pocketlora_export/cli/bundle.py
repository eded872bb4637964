"""`bundle`: a Hugging Face model to a bundle."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.quiet import quiet_imports

if TYPE_CHECKING:
    from pocketlora_export.bundle.manifest import Manifest

EXAMPLES = """\b
Examples:
  pocketlora-export bundle -m models/pocket-llama-4m -o out/pocket
  pocketlora-export bundle -m meta-llama/Llama-3.2-1B -o out/llama-1b --quant nf4 --train-seq-len 256
  pocketlora-export bundle -m ./my-model -o out/two --backend cpu --backend xnnpack
  pocketlora-export bundle -m ./my-model -o out/my --recipe int4 --target-modules q_proj,v_proj --max-rank 8
"""


@click.command(epilog=EXAMPLES)
@click.option("-m", "--model", required=True, help="Folder with config.json and safetensors, or a hub id OWNER/NAME.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option(
    "--recipe", metavar="FILE_OR_NAME", help="YAML recipe, or a preset: default, nf4, int4. Options given here win."
)
@click.option("--quant", type=click.Choice(["nf4", "int4"]), help="4-bit scheme.  [default: nf4]")
@click.option(
    "--group-size", type=int, help="Weights per scale: 64 for nf4; 32, 64 or 128 for int4.  [default: 64, 32]"
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(["cpu", "xnnpack", "vulkan"]),
    help="Programs to lower; again for another backend over the same base, best first.  [default: cpu]",
)
@click.option("--vulkan-fp16", is_flag=True, default=None, help="vulkan: inference computes in halves.")
@click.option(
    "--vulkan-device",
    metavar="NAME_OR_FILE",
    help="vulkan: hold programs to this device's limits.  [default: what the Vulkan specification guarantees]",
)
@click.option("--max-seq-len", type=int, help="Longest context in generation.  [default: 512]")
@click.option("--train-seq-len", type=int, help="Longest row in training.  [default: 256]")
@click.option("--max-rank", type=int, help="Largest LoRA rank, all active adapters together.  [default: 16]")
@click.option(
    "--target-modules",
    metavar="NAME,…",
    help="Linear layers that can carry an adapter; `attention`: those of the attention.  [default: all-linear]",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Threads that quantize.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--self-test/--no-self-test",
    default=True,
    help="Record a small step for devices to repeat, where the C++ runtime is built.  [default: self-test]",
)
@click.option("--resume/--no-resume", default=True, help="Continue an interrupted run.  [default: resume]")
@console.json_option("Print the result as one JSON object on stdout.")
def command(
    model: str,
    output: Path,
    recipe: str | None,
    threads: int,
    force: bool,
    resume: bool,
    self_test: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn a Hugging Face model into a bundle: 4-bit base, programs, manifest, tokenizer.

    What an interrupted run has quantized stays in .NAME.partial beside the output. The same command continues there.
    """
    quiet_imports()
    from pocketlora_export.recipes.recipe import load_recipe

    chosen = load_recipe(recipe, recipe_options(options))
    # PyTorch is imported from here on: a wrong option is reported at once.
    from pocketlora_export.recipes.build import build_bundle

    with _terminated_like_ctrl_c(), bar() as progress:
        built = build_bundle(model, output, chosen, force, threads, progress, resume, self_test)
    from pocketlora_export.cli.coverage_tables import summary

    for warning in built.warnings:
        console.warn(warning)
    size = sum(entry.size for entry in built.manifest.files)
    own = backend_bytes(built.manifest)
    if as_json:
        result = {"path": str(output), "bytes": size, "base_sha256": built.manifest.base_sha256}
        result |= {"shared_bytes": size - sum(own.values()), "backend_bytes": own}
        result |= {"coverage": {name: [stage.as_json() for stage in found] for name, found in built.coverage.items()}}
        console.print_json(result | {"resumed_bytes": built.resumed_bytes, "seconds": built.seconds})
    else:
        spent = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in built.seconds.items())
        console.note(f"{output}: {size / 1e6:.1f} MB ({spent})")
        for name, found in built.coverage.items():
            console.note(f"operations of {name}: {summary(found)}")
        if len(own) > 1:
            each = ", ".join(f"{name} {nbytes / 1e6:.2f} MB" for name, nbytes in own.items())
            console.note(f"shared by the backends: {(size - sum(own.values())) / 1e6:.1f} MB; of their own: {each}")


def backend_bytes(manifest: Manifest) -> dict[str, int]:
    """Bytes of the files that only one backend needs, by backend; everything else is shared."""
    names = dict.fromkeys(program.backend for program in manifest.programs)
    return {
        name: sum(file.size for file in manifest.files if file.path.startswith(f"programs/{name}/")) for name in names
    }


@contextlib.contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM too ends with what is kept being told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def recipe_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, nested as in a recipe."""
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    quant = {"quant": "scheme", "group_size": "group_size"}
    nested = {quant[key]: value for key, value in given.items() if key in quant}
    rest = {key: value for key, value in given.items() if key not in quant}
    if "target_modules" in rest:
        rest["target_modules"] = [name.strip() for name in rest["target_modules"].split(",") if name.strip()]
    if "backends" in rest:
        rest["backends"] = list(rest["backends"])
    return rest | ({"quant": nested} if nested else {})
