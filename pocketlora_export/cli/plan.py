"""`plan`: what training and inference will take, before anything is exported."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from pocketlora_export.cli import console
from pocketlora_export.cli.bundle import recipe_options
from pocketlora_export.cli.quiet import quiet_imports
from pocketlora_export.cli.values import TEXT, OptionsCommand

if TYPE_CHECKING:
    from pocketlora_export.plan.estimate import Inference, Training
    from pocketlora_export.plan.model import PlannedModel
    from pocketlora_export.plan.report import Asked

EXAMPLES = """\b
Examples:
  pocketlora-export plan -m meta-llama/Llama-3.2-1B --device galaxy-s24
  pocketlora-export plan -m ./my-model --seq-len 128,512 --micro-batch 1,4 --rank 8 --optimizer adamw,sgd
  pocketlora-export plan -m ./config.json --device ./my-phone.yaml --chart plan.svg --json | jq .largest
"""
# The default grid's longest sequences are those that the model allows.
_SEQUENCES, _CONTEXTS = (128, 256, 512), (512, 2048)


class Counts(click.ParamType[tuple[int, ...]]):
    """Numbers from 1, separated by commas."""

    name = "N,…"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers, each once, in the order given; a usage error that names the option otherwise."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isascii() and word.isdigit() and int(word[:10]) > 0 and len(word) < 8 for word in words):
            self.fail(f"expected numbers from 1 to 9999999, separated by commas, found {value!r}.", param, ctx)
        return tuple(dict.fromkeys(int(word) for word in words))


OPTIMIZERS = ("adamw", "adamw-8bit", "adafactor", "lion", "sgd", "sgd-momentum")


class Choices(click.ParamType[tuple[str, ...]]):
    """Some of a few words, separated by commas."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.name = "|".join(words) + ",…"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The words, each once; a usage error that names the option otherwise."""
        if isinstance(value, tuple):
            return value
        found = [word.strip() for word in str(value).split(",")]
        unknown = [word for word in found if word not in self.words]
        if unknown:
            self.fail(f"expected some of {', '.join(self.words)}, found {', '.join(map(repr, unknown))}.", param, ctx)
        return tuple(dict.fromkeys(found))


@click.command(cls=OptionsCommand, epilog=EXAMPLES)
@click.option(
    "-m", "--model", type=TEXT, required=True, help="Folder with config.json, a path to one, or a hub id OWNER/NAME."
)
@click.option("--seq-len", type=Counts(), help="Tokens of a training sequence.  [default: 128,256,512]")
@click.option("--micro-batch", type=Counts(), default="1,4", show_default=True, help="Sequences of one pass.")
@click.option("--rank", type=Counts(), default="8,16", show_default=True, help="LoRA ranks.")
@click.option("--optimizer", type=Choices(*OPTIMIZERS), default="adamw,sgd", show_default=True)
@click.option(
    "--activations",
    type=Choices("fp32", "fp16", "bf16"),
    default="fp32",
    show_default=True,
    help="How the blocks' inputs are kept between forward and backward.",
)
@click.option(
    "--recompute",
    type=Choices("auto", "full", "selective"),
    default="full",
    show_default=True,
    help="What the backward computes again of a layer: all, or all but the MLP's gate and up. auto: selective for the "
    "layers that the device has room for.",
)
@click.option("--context", type=Counts(), help="Tokens that a session holds.  [default: 512,2048]")
@click.option(
    "--cache-dtype",
    type=Choices("fp32", "fp16", "int8"),
    default="fp32",
    show_default=True,
    help="How a session keeps keys and values.",
)
@click.option("--dropout", is_flag=True, help="Train with LoRA dropout, which takes scratch.")
@click.option("--device", type=TEXT, help="What has to fit where: galaxy-s23, galaxy-s24, galaxy-s25, or a YAML file.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Threads of the runtime.  [default: the device's cores, or 8]"
)
@click.option("--quant", type=click.Choice(["nf4", "int4"]), help="4-bit scheme.  [default: nf4]")
@click.option("--group-size", type=int, help="Weights per scale, as for bundle.")
@click.option(
    "--target-modules", type=TEXT, metavar="NAME,…", help="Layers with adapters, or `attention`.  [default: all-linear]"
)
@click.option("--chart", type=click.Path(path_type=Path), help="Write a chart of the training settings, an SVG file.")
@console.json_option("Print everything as one JSON object on stdout, in bytes.")
def command(model: str, chart: Path | None, as_json: bool, **options: Any) -> None:
    """Say what training and inference will take, from the model's config alone.

    Nothing is downloaded but config.json, and nothing is exported. Anonymous memory (RssAnon) is what must fit; pages
    of the base (RssFile) can be dropped and read again.
    """
    quiet_imports()
    if chart is not None and chart.suffix.lower() != ".svg":
        raise click.BadParameter(f"expected a name that ends in .svg, found {str(chart)!r}.", param_hint="'--chart'")
    from pocketlora_export.plan.config import open_config
    from pocketlora_export.plan.devices import load_device
    from pocketlora_export.recipes.recipe import load_recipe

    device = load_device(options["device"]) if options["device"] is not None else None
    named = {key: options[key] for key in ("quant", "group_size", "target_modules")}
    recipe = load_recipe(None, recipe_options(named))
    config, name = open_config(model)
    # PyTorch is imported from here on: a wrong option or a missing file is reported at once.
    from pocketlora_export.plan.estimate import PHONE_THREADS, Machine
    from pocketlora_export.plan.report import make_plan
    from pocketlora_export.recipes.plan import plan_model

    planned = plan_model(config, name, recipe)
    asked = settings(planned, options)
    threads = options["threads"] or (device.threads if device else PHONE_THREADS)
    made = make_plan(planned, asked, Machine(threads), device)
    if chart is not None:
        from pocketlora_export.cli.plan_tables import chart_of
        from pocketlora_export.report.memory_chart import write_chart

        write_chart(chart, chart_of(made))
    if as_json:
        console.print_json(made.as_json())
        return
    from pocketlora_export.cli.plan_tables import print_plan

    print_plan(made)


def settings(model: PlannedModel, options: dict[str, Any]) -> Asked:
    """The settings of the grid, checked against the model.

    Raises:
        PocketLoraError: SEQUENCE_TOO_LONG with every length that the model does not take.
    """
    from pocketlora_export.errors import Status, raise_all
    from pocketlora_export.plan.estimate import Inference, Training
    from pocketlora_export.plan.report import Asked

    longest = model.facts.max_position_embeddings
    given = {"--seq-len": options["seq_len"], "--context": options["context"]}
    problems = [
        f"{option}: {n} is beyond the model's max_position_embeddings {longest}"
        for option, lengths in given.items()
        for n in lengths or ()
        if n > longest
    ]
    raise_all(Status.SEQUENCE_TOO_LONG, "the plan does not fit the model:", problems)
    training: list[Training] = [
        Training(sequence, micro_batch, rank, optimizer, activations, options["dropout"], recompute=recompute)
        for sequence, micro_batch, rank, optimizer, activations, recompute in itertools.product(
            given["--seq-len"] or _allowed(_SEQUENCES, longest),
            options["micro_batch"],
            options["rank"],
            options["optimizer"],
            options["activations"],
            options["recompute"],
        )
    ]
    inference: list[Inference] = [
        Inference(context, cache, max(options["rank"]))
        for context, cache in itertools.product(
            given["--context"] or _allowed(_CONTEXTS, longest), options["cache_dtype"]
        )
    ]
    return Asked(training, inference)


def _allowed(lengths: tuple[int, ...], longest: int) -> tuple[int, ...]:
    return tuple(n for n in lengths if n <= longest) or (longest,)
