"""`coverage`: what of each stage runs in delegates, in our kernels, or in portable ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocketlora_export.cli import console
from pocketlora_export.cli.build_progress import bar
from pocketlora_export.cli.bundle import recipe_options
from pocketlora_export.cli.quiet import quiet_imports
from pocketlora_export.cli.values import TEXT, OptionsCommand
from pocketlora_export.errors import PocketLoraError, Status

if TYPE_CHECKING:
    from pocketlora_export.lower.coverage import StageCoverage

EXAMPLES = """\b
Examples:
  pocketlora-export coverage out/llama-1b --backend xnnpack
  pocketlora-export coverage meta-llama/Llama-3.2-1B --backend vulkan --quant int4 --program train --fail-under 95
  pocketlora-export coverage ./my-model --backend cpu --graph coverage.svg --json | jq .stages
"""


@click.command(cls=OptionsCommand, epilog=EXAMPLES)
@click.argument("model", metavar="MODEL_OR_BUNDLE", type=TEXT)
@click.option("--backend", type=click.Choice(["cpu", "xnnpack", "vulkan"]), required=True, help="What to lower for.")
@click.option("--program", type=click.Choice(["train", "infer"]), help="One program only.  [default: both]")
@click.option("--quant", type=click.Choice(["nf4", "int4"]), help="4-bit scheme.  [default: the bundle's, or nf4]")
@click.option("--group-size", type=int, help="Weights per scale, as for bundle.")
@click.option("--max-seq-len", type=int, help="Longest context, as for bundle.")
@click.option("--train-seq-len", type=int, help="Rows of a training stage, as for bundle.")
@click.option("--max-rank", type=int, help="LoRA rank, as for bundle.")
@click.option("--target-modules", type=TEXT, metavar="NAME,…", help="Layers with adapters, as for bundle.")
@click.option("--vulkan-device", metavar="NAME_OR_FILE", help="Limits of a device, as for bundle.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail where a stage has fewer of its operations in delegates and our kernels together.",
)
@click.option("--graph", type=click.Path(path_type=Path), help="Write a chart, an SVG file.")
@console.json_option("Print everything as one JSON object on stdout.")
def command(
    model: str,
    backend: str,
    program: str | None,
    fail_under: float | None,
    graph: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what of each stage runs in a backend's delegates, in our kernels, or in ExecuTorch's portable ones.

    From a model's config alone: one layer of each kind is lowered in memory, with blank weights where programs hold
    them. Operations are counted from shapes, at the largest sizes.
    """
    quiet_imports()
    if graph is not None and graph.suffix.lower() != ".svg":
        raise click.BadParameter(f"expected a name that ends in .svg, found {str(graph)!r}.", param_hint="'--graph'")
    stages = _stages(model, backend, program, options)
    from pocketlora_export.lower.registry import backend_named

    notes = backend_named(backend).notes
    if graph is not None:
        from pocketlora_export.cli.coverage_tables import chart_of
        from pocketlora_export.report.memory_chart import write_chart

        write_chart(graph, chart_of(backend, stages))
    if as_json:
        found = [stage.as_json() for stage in stages]
        console.print_json({"backend": backend, "notes": list(notes), "stages": found})
    else:
        from pocketlora_export.cli.coverage_tables import print_coverage

        print_coverage(backend, stages)
        for note in notes:
            console.note(note)
    check_share(backend, stages, fail_under)


def _stages(model: str, backend: str, program: str | None, options: dict[str, Any]) -> list[StageCoverage]:
    from pocketlora_export.recipes.cover import KINDS, bundle_options, cover, cover_steps
    from pocketlora_export.recipes.recipe import load_recipe

    base = bundle_options(Path(model).expanduser())
    given = recipe_options(options)
    # The ends follow a scheme that is given.
    quant = {**(base.get("quant", {}) if "scheme" not in given.get("quant", {}) else {}), **given.get("quant", {})}
    recipe = load_recipe(None, {**base, **given, **({"quant": quant} if quant else {})})
    kinds = tuple(kind for kind in KINDS if program in (None, kind))
    with bar() as progress:
        progress.begin(f"lowering for {backend}", cover_steps(kinds))
        return cover(model, recipe, backend, kinds, lambda step: progress.advance(1, step))


def check_share(backend: str, stages: list[StageCoverage], percent: float | None) -> None:
    """Fail where stages are below a share.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED with every stage that is, and its costliest portable op.
    """
    low = [stage for stage in stages if percent is not None and 100 * stage.covered < percent]
    if low:
        lines = [f"{stage.stage}: {stage.covered:.1%}{_culprit(stage)}" for stage in low]
        text = "\n".join(f"  - {line}" for line in lines)
        raise PocketLoraError(
            Status.INPUT_UNSUPPORTED, f"backend {backend}: below {percent:g} % of operations:\n{text}"
        )


def _culprit(stage: StageCoverage) -> str:
    portable = [use for use in stage.ops if use.place == "portable"]
    return f", the most in {portable[0].op} ({portable[0].flops / max(stage.flops(), 1):.1%})" if portable else ""
