"""Speed beside the peers', in one run: a training step, a prompt, a new token.

Every program runs in a process of its own on the same random weights, all of them in turn, several times over. The
ratio is ours to the peer's within a turn: its median, and from the least to the most. A peer that cannot be installed
or run, or that takes longer than --timeout, is listed with the reason.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from benchmarks.bars import bars
from benchmarks.contenders import RANK, Contenders, Found
from benchmarks.random_model import SHAPES
from benchmarks.results import Row, megabytes, write

OURS = "PocketLoRA NF4"
PEFT = {"peft-fp32": "float32", "peft-bf16": "bfloat16", "peft-bnb": "bnb-nf4"}
TRANSFORMERS = {"transformers-fp32": "float32", "transformers-bf16": "bfloat16"}
ALL = (*PEFT, "llama.cpp", *TRANSFORMERS)


@dataclass
class Contender:
    """One program at one kind of work: its runs so far, and why there are no more."""

    measure: Callable[[], Found]
    runs: list[Found] = field(default_factory=list)
    failure: str = ""

    def run(self) -> None:
        """Once more, unless it has failed before."""
        if self.failure:
            return
        try:
            self.runs.append(self.measure())
        except SystemExit as failure:
            self.failure = str(failure)


def training(given: Contenders, rows: int, steps: int, peers: tuple[str, ...]) -> dict[str, Contender]:
    """Ours first."""
    found = {OURS: Contender(partial(given.train, rows, steps))}
    for name, base in PEFT.items():
        if name in peers:
            found[name] = Contender(partial(given.peft, base, rows, steps))
    return found


def generation(given: Contenders, prompt: int, peers: tuple[str, ...]) -> dict[str, Contender]:
    """Ours first, as a user gets it and in fp32."""
    found = {
        OURS: Contender(partial(given.generate, prompt)),
        f"{OURS}, fp32": Contender(partial(given.generate, prompt, "fp32")),
    }
    if "llama.cpp" in peers:
        found["llama.cpp Q4_0"] = Contender(partial(given.llama_cpp, prompt))
    for name, dtype in TRANSFORMERS.items():
        if name in peers:
            found[name] = Contender(partial(given.transformers, dtype, prompt))
    return found


def rows_of(work: str, contenders: Mapping[str, Contender], key: str, tokens: int) -> list[Row]:
    """A row for each program; `key` names the seconds that `tokens` tokens took. Nothing can be said without ours."""
    if not contenders[OURS].runs:
        raise SystemExit(f"{work}: {OURS} did not run: {contenders[OURS].failure}")
    ours = [run[key] for run in contenders[OURS].runs]
    table: list[Row] = []
    for name, contender in contenders.items():
        if not contender.runs:
            table.append({"work": work, "": name, "tokens/s": f"did not run: {contender.failure}"})
            continue
        seconds = [run[key] for run in contender.runs]
        ratios = sorted(theirs / own for own, theirs in zip(ours, seconds, strict=False))
        table.append(
            {
                "work": work,
                "": name,
                "tokens/s": f"{tokens / statistics.median(seconds):.1f}",
                "seconds": f"{statistics.median(seconds):.3f}",
                "ours to it": f"{statistics.median(ratios):.2f}",
                "from": f"{ratios[0]:.2f}",
                "to": f"{ratios[-1]:.2f}",
                "runs": len(seconds),
                "RssAnon MB": megabytes(contender.runs[-1]["memory"]["rss_anon"]),
            }
        )
    return table


def chart(title: str, table: list[Row]) -> str:
    """The rows that have a speed, a group for each kind of work."""
    groups: dict[str, dict[str, float]] = {}
    for row in table:
        if "seconds" in row:
            groups.setdefault(row["work"], {})[row[""]] = float(row["tokens/s"])
    return bars(title, groups, "tokens/s")


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="135m", show_default=True)
@click.option("--rows", default=128, show_default=True, help="Tokens of a training step, and of the prompt.")
@click.option("--steps", default=2, show_default=True, help="Training steps of a run; their median counts.")
@click.option("--repeats", default=3, show_default=True, help="Turns.")
@click.option("--threads", default=1, show_default=True)
@click.option("--peer", "peers", multiple=True, type=click.Choice(ALL), default=ALL, show_default=True)
@click.option("--timeout", default=900.0, show_default=True, help="Seconds for one run of a peer, loading included.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/peers-work"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(
    shape: str,
    rows: int,
    steps: int,
    repeats: int,
    threads: int,
    peers: tuple[str, ...],
    timeout: float,
    work: Path,
    output: Path,
) -> None:
    """Command line of this file."""
    given = Contenders(work / shape, shape, threads, timeout)
    given.prepare()
    train, generate = training(given, rows, steps, peers), generation(given, rows, peers)
    for _ in range(repeats):
        for contender in (*train.values(), *generate.values()):
            contender.run()
    table = [
        *rows_of(f"training step, {rows} rows", train, "seconds", rows),
        *rows_of(f"prompt of {rows}", generate, "prefill", rows),
        *rows_of("a new token", generate, "seconds", 1),
    ]
    title = f"Speed, {shape}, LoRA rank {RANK} on all linear layers, {threads} threads"
    write(output, "peers", title, table)
    (output / "peers.svg").write_text(chart(title, table))


if __name__ == "__main__":
    main()
