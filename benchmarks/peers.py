"""Speed beside the peers', in one run: a training step, a prompt, a new token.

Every program runs in a process of its own on the same random weights, all of them in turn, several times over. The
ratio is ours to the peer's within a turn: its median, and from the least to the most. A peer that cannot be installed
or run, or that takes longer than --timeout, is listed with the reason. "of peak" is the share of what the machine does
at most: of fp32 multiply-adds in a step and a prompt, of the bytes that it reads from a mapped file in a new token.
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
from benchmarks.isa import ISAS, machine_isa
from benchmarks.isa_check import assert_cap
from benchmarks.random_model import SHAPES
from benchmarks.results import Row, megabytes, write
from benchmarks.roofline import Roofline
from benchmarks.workload import Share

OURS = "PocketLoRA NF4"
PEFT = {
    "peft-fp32": "float32",
    "peft-bf16": "bfloat16",
    "peft-bnb": "bnb-nf4",
    "peft-torchao": "torchao-nf4",
    "peft-torchao-fp32": "torchao-nf4-fp32",
}
TRANSFORMERS = {"transformers-fp32": "float32", "transformers-bf16": "bfloat16"}
ALL = (*PEFT, "llama.cpp", "executorch-8da4w", *TRANSFORMERS)


@dataclass
class Contender:
    """One program at one kind of work: its runs so far, and why there are no more.

    `prepare`: makes what its runs need and no turn should wait for.
    """

    measure: Callable[[], Found]
    prepare: Callable[[], object] | None = None
    runs: list[Found] = field(default_factory=list)
    failure: str = ""

    def run(self) -> None:
        """Once more, unless it has failed before."""
        self._attempt(lambda: self.runs.append(self.measure()))

    def make_ready(self) -> None:
        """Before the first turn."""
        if self.prepare is not None:
            self._attempt(self.prepare)

    def _attempt(self, step: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            step()
        except SystemExit as failure:
            self.failure = str(failure)


def training(given: Contenders, rows: int, steps: int, peers: tuple[str, ...]) -> dict[str, Contender]:
    """Ours first: as a user gets it, with the products of gate and up kept, and with integers besides."""
    found = {
        OURS: Contender(partial(given.train, rows, steps)),
        f"{OURS}, selective": Contender(partial(given.train, rows, steps, "selective")),
        f"{OURS}, selective, int16": Contender(partial(given.train, rows, steps, "selective", "int16")),
        f"{OURS}, selective, int8": Contender(partial(given.train, rows, steps, "selective", "int8")),
    }
    if _has_bf16(given):
        found[f"{OURS}, selective, bf16"] = Contender(partial(given.train, rows, steps, "selective", "bf16"))
    for name, base in PEFT.items():
        if name in peers:
            found[name] = Contender(partial(given.peft, base, rows, steps))
    return found


def _has_bf16(given: Contenders) -> bool:
    """Whether `--compute bf16` has kernels of its own under the cap."""
    return machine_isa() == "amx" and given.isa in ("native", "amx")


def generation(given: Contenders, prompt: int, peers: tuple[str, ...]) -> dict[str, Contender]:
    """Ours first: as a user gets it, in fp32 and in 8-bit integers."""
    found = {
        OURS: Contender(partial(given.generate, prompt)),
        f"{OURS}, fp32": Contender(partial(given.generate, prompt, "fp32")),
        f"{OURS}, int8": Contender(partial(given.generate, prompt, "int8")),
    }
    if _has_bf16(given):
        found[f"{OURS}, bf16"] = Contender(partial(given.generate, prompt, "bf16"))
    if "llama.cpp" in peers:
        found["llama.cpp Q4_0"] = Contender(partial(given.llama_cpp, prompt))
    if "executorch-8da4w" in peers:
        found["executorch-8da4w"] = Contender(partial(given.executorch, prompt), given.program)
    for name, dtype in TRANSFORMERS.items():
        if name in peers:
            found[name] = Contender(partial(given.transformers, dtype, prompt))
    return found


def measure_share(given: Contenders) -> Share:
    """The machine's peaks under the same cap, the bandwidth on our base's own mapping."""
    roofline = Roofline()
    bandwidth = roofline.bandwidth(given.bundle / "base.ptd", given.threads)
    return Share(given.work, roofline.flops(given.isa, given.threads), bandwidth)


def short_name(own: str) -> str:
    """Of one of ours, for a column."""
    return own.removeprefix(f"{OURS}, ").replace(OURS, "ours")


def ratio_text(ours: list[float], theirs: list[float]) -> str:
    """How much faster ours was within a turn: the median, and from the least to the most."""
    ratios = sorted(their / own for own, their in zip(ours, theirs, strict=False))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})" if ratios else "–"


def rows_of(
    work: str, contenders: Mapping[str, Contender], key: str, tokens: int, of_peak: Callable[[Found], float]
) -> list[Row]:
    """A row for each program; `key` names the seconds that `tokens` tokens took. Nothing can be said without ours.

    `of_peak`: what a run reached of what the machine does at most.
    """
    if not contenders[OURS].runs:
        raise SystemExit(f"{work}: {OURS} did not run: {contenders[OURS].failure}")
    ours = {name: [run[key] for run in contenders[name].runs] for name in contenders if name.startswith(OURS)}
    table: list[Row] = []
    for name, contender in contenders.items():
        if not contender.runs:
            table.append({"work": work, "": name, "tokens/s": f"did not run: {contender.failure}"})
            continue
        seconds = [run[key] for run in contender.runs]
        table.append(
            {
                "work": work,
                "": name,
                "tokens/s": f"{tokens / statistics.median(seconds):.1f}",
                "seconds": f"{statistics.median(seconds):.3f}",
                "of peak": f"{100 * statistics.median(map(of_peak, contender.runs)):.0f} %",
                **{f"{short_name(own)} to it": ratio_text(turns, seconds) for own, turns in ours.items()},
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
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True, help="Cap for every program.")
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
    isa: str,
    timeout: float,
    work: Path,
    output: Path,
) -> None:
    """Command line of this file."""
    cap = assert_cap(isa)
    given = Contenders(work / shape, shape, threads, timeout, isa)
    given.prepare()
    train, generate = training(given, rows, steps, peers), generation(given, rows, peers)
    everyone = (*train.values(), *generate.values())
    for contender in everyone:
        contender.make_ready()
    share = measure_share(given)
    for _ in range(repeats):
        for contender in everyone:
            contender.run()
    table = [
        *rows_of(
            f"training step, {rows} rows", train, "seconds", rows, lambda run: share.training(rows, run["seconds"])
        ),
        *rows_of(f"prompt of {rows}", generate, "prefill", rows, lambda run: share.prompt(rows, run["prefill"])),
        *rows_of("a new token", generate, "seconds", 1, lambda run: share.token(run["token_bytes"], run["seconds"])),
    ]
    title = f"Speed, {shape}, LoRA rank {RANK} on all linear layers, {threads} threads"
    peak = f"peak: fp32 {share.flops / 1e9:.0f} GFLOP/s, reading base.ptd {share.bandwidth / 1e9:.1f} GB/s"
    write(output, "peers", f"{title}; {cap}; {peak}", table)
    (output / "peers.svg").write_text(chart(title, table))


if __name__ == "__main__":
    main()
