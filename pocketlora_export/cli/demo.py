"""`demo`: the whole chain on the model that ships with the project, a table and a page at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.table import Table

from pocketlora_export.cli import console
from pocketlora_export.cli.options import PATH, runtime_options
from pocketlora_export.cli.values import TEXT, FiniteFloatRange, OptionsCommand
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.recipes.recipe import Recipe
from pocketlora_export.report.demo_result import AdapterResult, DemoResult
from pocketlora_export.report.demo_run import Demo, DemoOptions, time_swaps, train_adapter, write_samples
from pocketlora_export.report.page import megabytes, write_page
from pocketlora_export.runtime import Engine, Sampling

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MODEL = REPOSITORY / "models" / "pocket-llama-4m"
EXAMPLES = (REPOSITORY / "examples" / "notes", REPOSITORY / "examples" / "captains-log")
PROMPTS = ("This morning", "Today")
# A model of a few million parameters wants larger steps than one of a billion.
SMALL_MODEL, SMALL_RATE, LARGE_RATE = 100_000_000, 3e-3, 3e-4


@click.command(
    cls=OptionsCommand,
    epilog="\b\nExample:\n"
    "  pocketlora-export demo\n"
    "  pocketlora-export demo --model ~/models/Llama-3.2-1B --iters 40\n\n"
    "An examples folder holds train.jsonl and valid.jsonl. The output folder gets the bundle, both adapters and "
    "demo.html.",
)
@click.option(
    "-m", "--model", default=str(MODEL), show_default="the shipped model", help="Hugging Face folder, or a hub id."
)
@click.option("--first", type=PATH, default=EXAMPLES[0], show_default="examples/notes", help="Examples of adapter A.")
@click.option(
    "--second", type=PATH, default=EXAMPLES[1], show_default="examples/captains-log", help="Examples of adapter B."
)
@click.option(
    "-o", "--output", type=PATH, default=Path("out/demo"), show_default=True, help="Folder for everything made."
)
@click.option("--iters", type=click.IntRange(min=1), default=120, show_default=True, help="Steps of each adapter.")
@click.option(
    "--learning-rate",
    type=FiniteFloatRange(min=0, min_open=True),
    help=f"[default: {SMALL_RATE:g} below 100 million parameters, {LARGE_RATE:g} from there]",
)
@click.option("--rank", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(min=2), default=60, show_default=True)
@click.option("--temperature", type=FiniteFloatRange(min=0), default=0.5, show_default=True)
@click.option("--top-p", type=FiniteFloatRange(0, 1, min_open=True), default=0.9, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option(
    "--prompt",
    "prompts",
    type=TEXT,
    multiple=True,
    default=PROMPTS,
    show_default=True,
    help="May be given repeatedly.",
)
@runtime_options
@console.json_option("Print the results as one JSON object on stdout.")
def command(model: str, first: Path, second: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Quantize, lower, train two adapters, swap them in one live session, and show it all."""
    started = time.monotonic()
    _check_inputs((first, second))
    output.mkdir(parents=True, exist_ok=True)
    bundle_seconds = _make_bundle(model, output / "bundle", options["rank"])
    with Engine(output / "bundle", backend=options["backend"], num_threads=options["threads"]) as engine:
        coder = TextCoder.from_bundle(output / "bundle", engine.facts.manifest)
        demo = Demo(engine, coder, _demo_options(options, engine.facts.manifest["model"]["num_parameters"]))
        result = _run(demo, (first, second), output, options["threads"] or os.cpu_count() or 1, bundle_seconds, started)
    write_page(result, output / "demo.html")
    if as_json:
        console.print_json({**result.as_json(), "page": str(output / "demo.html")})
    else:
        _print(result, output / "demo.html")


def _demo_options(options: dict[str, Any], parameters: int) -> DemoOptions:
    names = ("max_new_tokens", "temperature", "top_p", "seed")
    return DemoOptions(
        iters=options["iters"],
        learning_rate=options["learning_rate"] or (SMALL_RATE if parameters < SMALL_MODEL else LARGE_RATE),
        rank=options["rank"],
        batch_size=options["batch_size"],
        eval_every=max(1, options["iters"] // 10),
        sampling=Sampling(**{name: options[name] for name in names}),
        prompts=tuple(options["prompts"]),
        seed=options["seed"],
    )


def _check_inputs(examples: tuple[Path, Path]) -> None:
    wanted = [folder / name for folder in examples for name in ("train.jsonl", "valid.jsonl")]
    missing = [str(path) for path in wanted if not path.is_file()]
    if missing:
        raise PocketLoraError(Status.INPUT_MISSING, "the demo needs\n" + "\n".join(f"  - {name}" for name in missing))


def _make_bundle(model: str, bundle: Path, rank: int) -> float:
    """Make the bundle in a process of its own, so that PyTorch's memory is not in the demo's figures."""
    started = time.monotonic()
    arguments = ["bundle", "-m", model, "-o", str(bundle), "--force", "--json"]
    if rank > Recipe().max_rank:
        arguments += ["--max-rank", str(rank)]
    command_line = [sys.executable, "-m", "pocketlora_export", *arguments]
    done = subprocess.run(command_line, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        _bundling_failed(done)
    return time.monotonic() - started


def _bundling_failed(done: subprocess.CompletedProcess[str]) -> NoReturn:
    """End as the process did. Its message is on stderr already; with --json its event is repeated."""
    if console.json_output():
        last = (done.stdout.splitlines() or [""])[-1]
        if _is_error_event(last):
            click.echo(last)
        else:
            console.print_error_event(Status.INTERNAL, f"making the bundle ended with exit code {done.returncode}")
    raise SystemExit(done.returncode if done.returncode > 0 else 1)


def _is_error_event(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and event.get("event") == "error"


def adapter_names(first: Path, second: Path) -> tuple[str, str]:
    """What the two adapters are called: their folders' names, told apart when these are equal."""
    a, b = first.resolve().name, second.resolve().name
    return (f"{a} (A)", f"{b} (B)") if a == b else (a, b)


def _run(
    demo: Demo, examples: tuple[Path, Path], output: Path, threads: int, bundle_seconds: float, started: float
) -> DemoResult:
    names = adapter_names(*examples)
    trained = [
        _train(demo, name, folder, output / f"adapter-{letter}-{folder.resolve().name}")
        for letter, name, folder in zip("ab", names, examples, strict=True)
    ]
    with (
        demo.engine.load_adapter(Path(trained[0].path)) as first,
        demo.engine.load_adapter(Path(trained[1].path)) as second,
    ):
        console.note("writing with the base, both adapters and the base again, in one session")
        samples, speed = write_samples(demo, (trained[0].name, first), (trained[1].name, second))
        swap = time_swaps(demo, first, second)
    manifest = demo.engine.facts.manifest
    return DemoResult(
        model=manifest["model"]["name"],
        parameters=manifest["model"]["num_parameters"],
        scheme=manifest["quantization"]["scheme"],
        base_bytes=(output / "bundle" / manifest["base"]["file"]).stat().st_size,
        threads=threads,
        adapters=trained,
        samples=samples,
        generation_tokens_per_second=speed,
        swap=swap,
        peak_rss_anon=demo.peaks.rss_anon,
        peak_rss_file=demo.peaks.rss_file,
        base_private_dirty=demo.peaks.base_private_dirty,
        bundle_seconds=bundle_seconds,
        seconds=time.monotonic() - started,
    )


def _train(demo: Demo, name: str, examples: Path, output: Path) -> AdapterResult:
    with console.progress() as bar:
        task = bar.add_task(f"training on {name}", total=demo.options.iters, status="")
        result = train_adapter(
            demo,
            name,
            examples,
            output,
            lambda step: bar.update(task, completed=step.step, status=f"loss {step.loss:.3f}"),
        )
    console.note(
        f"{result.name}: held-out perplexity {result.perplexity_before:.2f} -> {result.perplexity_after:.2f}, "
        f"{result.tokens_per_second:.0f} tokens/s"
    )
    return result


def _print(result: DemoResult, page: Path) -> None:
    """The table and the samples, on stdout."""
    out = console.stdout()
    table = Table(title=f"{result.model}, {result.scheme}")
    for heading in ("adapter", "perplexity before", "after", "training tokens/s", "steps"):
        table.add_column(heading, justify="left" if heading == "adapter" else "right")
    for a in result.adapters:
        numbers = (
            f"{a.perplexity_before:.2f}",
            f"{a.perplexity_after:.2f}",
            f"{a.tokens_per_second:.0f}",
            str(a.steps),
        )
        table.add_row(a.name, *numbers)
    out.print(table)
    figures = Table(show_header=False)
    for name, value in _figures(result):
        figures.add_row(name, value)
    out.print(figures)
    for sample in result.samples:
        out.print(f"[bold]{sample.label}[/bold]", end=": ")
        out.print(sample.prompt + sample.text, markup=False)
    out.print(f"page: {page}", markup=False, soft_wrap=True)


def _figures(result: DemoResult) -> list[tuple[str, str]]:
    swap = result.swap
    return [
        ("generation", f"{result.generation_tokens_per_second:.0f} tokens/s"),
        ("swap of adapters, median of " + str(swap.calls), f"{swap.median_ms:.3f} ms"),
        (f"next token after a swap, {swap.kept_tokens} tokens kept", f"{swap.next_token_ms:.1f} ms"),
        ("peak RssAnon", megabytes(result.peak_rss_anon)),
        ("peak RssFile", megabytes(result.peak_rss_file)),
        ("base, mapped", f"{megabytes(result.base_bytes)}, private-dirty {result.base_private_dirty} bytes"),
        ("bundle / whole demo", f"{result.bundle_seconds:.0f} / {result.seconds:.0f} s"),
    ]
