"""Holds `pocketlora-export plan` against what the runtime takes: 14 settings of training, 4 of inference.

The plan sees a config.json only. The measurement is a process without Python (memory_probe.c) that trains a step, or
fills a session, with a bundle exported for just as many rows. Random weights in the shape of known models.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.random_model import config_of, write_random_model
from benchmarks.relower import relower
from benchmarks.results import megabytes, run_child, write
from pocketlora_export.plan.estimate import PARTS, Estimate, Inference, Machine, Training, inference, training
from pocketlora_export.plan.kernels import AVX2, AVX512
from pocketlora_export.plan.model import PlannedModel
from pocketlora_export.recipes.plan import plan_model
from pocketlora_export.recipes.recipe import Recipe

# A part may be off by the larger of these, the total by the first.
SHARE, BYTES = 0.05, 2_000_000
# The bundles' limits beside their rows.
CONTEXT, RANK = 1024, 64


@dataclass(frozen=True)
class Combination:
    """A shape and a setting; `rows`: what the bundle is exported for."""

    shape: str
    setting: Training | Inference
    rows: int

    @property
    def label(self) -> str:
        """For the table."""
        s = self.setting
        if isinstance(s, Training):
            kept = "" if s.recompute == "full" else f", {s.recompute}"
            return f"{self.shape}, {s.sequence} × {s.micro_batch}, rank {s.rank}, {s.optimizer}{kept}"
        return f"{self.shape}, context {s.context}"


def combinations() -> list[Combination]:
    """Each shape with short and long sequences, low and high ranks, both optimizers."""
    wanted = {
        "135m": [(64, 1, 16, "adamw"), (128, 2, 64, "adamw"), (1024, 1, 8, "sgd")],
        "1b": [(64, 1, 16, "sgd"), (32, 4, 16, "adamw"), (256, 1, 8, "adamw")],
        "3b": [(32, 1, 16, "adamw"), (64, 1, 32, "adamw"), (128, 1, 8, "sgd")],
        "7b": [(32, 1, 8, "adamw"), (64, 1, 16, "adamw"), (128, 1, 16, "sgd")],
    }
    trained = [
        Combination(shape, Training(*values), values[0] * values[1])  # type: ignore[arg-type]
        for shape, settings in wanted.items()
        for values in settings
    ]
    # The first bundles of two shapes once more, with products kept.
    trained += [
        Combination(one.shape, replace(one.setting, recompute="selective"), one.rows)
        for one in trained
        if isinstance(one.setting, Training) and (one.shape, one.rows) in (("135m", 256), ("1b", 256))
    ]
    rows = {one.shape: one.rows for one in reversed(trained)}
    return trained + [Combination(shape, Inference(512, rank=0), rows[shape]) for shape in wanted]


@dataclass(frozen=True)
class Compared:
    """One combination: bytes by part, planned and measured."""

    combination: Combination
    planned: dict[str, int]
    measured: dict[str, int]

    @property
    def bad(self) -> list[str]:
        """Parts that are off by more than they may be."""
        return [name for name in self.planned if not within(name, self.planned[name], self.measured[name])]

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        parts = {name: [self.planned[name], self.measured[name]] for name in self.planned}
        return {"combination": self.combination.label, "planned, measured": parts, "bad": self.bad}


def within(name: str, planned: int, measured: int) -> bool:
    """Whether a part, or the total, is near enough."""
    allowed = SHARE * measured
    return abs(planned - measured) <= (allowed if name == "RssAnon" else max(allowed, BYTES))


def compare(combination: Combination, planned: Estimate, probe: dict[str, Any]) -> Compared:
    """Part by part. What no account has is the process; its total is what /proc says."""
    found = probe["memory"]
    measured = {part: found["unexplained" if part == "process" else part] for part in PARTS}
    return Compared(
        combination,
        {**planned.parts, "RssAnon": planned.anonymous, "RssFile": planned.file},
        {**measured, "RssAnon": found["rss_anon"], "RssFile": found["rss_file"]},
    )


def machine(threads: int) -> Machine:
    """This computer: which register tile its kernels have."""
    wide = "avx512f" in Path("/proc/cpuinfo").read_text("utf-8")
    return Machine(threads, AVX512 if wide else AVX2)


def build_probe(library: Path, work: Path) -> Path:
    """Compile memory_probe.c against a runtime."""
    root = Path(__file__).resolve().parents[1]
    folder = library.resolve().parent
    probe = work / "memory_probe"
    command = ["cc", "-O2", f"-I{root / 'runtime_cpp' / 'include'}", str(root / "benchmarks" / "memory_probe.c")]
    subprocess.run([*command, "-o", str(probe), str(library), f"-Wl,-rpath,{folder}"], check=True)
    return probe


def measure(probe: Path, bundle: Path, combination: Combination, threads: int) -> dict[str, Any]:
    """Run a setting in a process of its own."""
    s = combination.setting
    if isinstance(s, Training):
        arguments = ["train", bundle, threads, s.sequence, s.micro_batch, s.rank, s.optimizer, 1, s.recompute]
    else:
        arguments = ["generate", bundle, threads, s.context]
    done = subprocess.run([str(probe), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"{combination.label}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bundle_of(combination: Combination, models: Path, bundles: Path) -> Path:
    """The bundle of a combination; models and bundles that are there are used again."""
    shape = combination.shape
    source, first = models / shape, models / f"{shape}-b"
    if not (first / "manifest.json").is_file():
        if not (source / "config.json").is_file():
            write_random_model(source, shape)
        run_child("pocketlora_export", "bundle", "-m", source, "-o", first, "--quant", "nf4")
    recipe = Recipe(max_seq_len=CONTEXT, train_seq_len=combination.rows, max_rank=RANK)
    return relower(first, source, recipe, bundles / f"{shape}-{combination.rows}")


def check(probe: Path, models: Path, bundles: Path, shapes: tuple[str, ...], threads: int) -> Iterator[Compared]:
    """Every combination of some shapes."""
    planned: dict[str, PlannedModel] = {}
    for one in combinations():
        if one.shape not in shapes:
            continue
        if one.shape not in planned:
            planned[one.shape] = plan_model(config_of(one.shape), one.shape, Recipe())
        model, s = planned[one.shape], one.setting
        computer = machine(threads)
        estimate = training(model, s, computer) if isinstance(s, Training) else inference(model, s, computer)
        yield compare(one, estimate, measure(probe, bundle_of(one, models, bundles), one, threads))


def table_row(one: Compared) -> dict[str, str]:
    """Planned / measured, in MB."""
    cells = {
        name.replace("_", " "): f"{megabytes(one.planned[name])} / {megabytes(one.measured[name])}"
        for name in one.planned
    }
    error = one.planned["RssAnon"] / one.measured["RssAnon"] - 1
    verdict = "yes" if not one.bad else f"no: {', '.join(one.bad)}"
    return {"setting": one.combination.label, **cells, "total off by": f"{100 * error:+.1f} %", "holds": verdict}


@click.command(help=__doc__)
@click.option(
    "--library", type=click.Path(path_type=Path), default=Path("build/host/libpocketlora.so"), show_default=True
)
@click.option("--models", type=click.Path(path_type=Path), help="Keep random models and their bundles here.")
@click.option("--bundles", type=click.Path(path_type=Path), help="Keep the bundles of the combinations here.")
@click.option("--shape", "shapes", multiple=True, type=click.Choice(["135m", "1b", "3b", "7b"]), help="Only this one.")
@click.option("--threads", default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(
    library: Path, models: Path | None, bundles: Path | None, shapes: tuple[str, ...], threads: int, output: Path
) -> None:
    """Command line of this file."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        probe, place = build_probe(library, Path(work)), models or Path(work) / "models"
        found = []
        for one in check(probe, place, bundles or place / "plan", shapes or ("135m", "1b", "3b", "7b"), threads):
            click.echo(json.dumps(one.as_json()), err=True)
            found.append(one)
    write(output, "plan_check", f"Plan / measured, MB, {threads} thread(s)", [table_row(one) for one in found])
    (output / "plan_check_parts.json").write_text(json.dumps([one.as_json() for one in found], indent=1), "utf-8")
    if any(one.bad for one in found):
        raise click.ClickException("the plan does not hold")


if __name__ == "__main__":
    main()
