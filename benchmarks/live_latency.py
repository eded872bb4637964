"""How soon a live engine does what it is told: an adapter swap, a training step's pause, and its going on.

swap: `pl_session_set_adapters` on a session that holds tokens, alternating between two adapters; with --sum, between
weighted sums of both, whose matrices are put side by side. The tokens' rows under the new set are not part of it.
pause: from `pl_trainer_pause`, asked for at a random moment of a step, until the step waits at a block.
resume: from `pl_trainer_resume` until the step goes on.
restart: what a process does after a kill before its first step: open the bundle, make a trainer, load the checkpoint.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.results import Row, write
from benchmarks.train_probe import RandomRow
from pocketlora_export.runtime import Adapter, Engine, Session, Trainer, TrainerConfig
from pocketlora_export.runtime.engine import AdapterSet

TITLES = {
    "swap": "Replacing a live session's adapters",
    "pause": "A training step comes to a halt",
    "resume": "A training step goes on",
    "restart": "Training is ready again after a kill",
}


def summary(seconds: Sequence[float]) -> Row:
    """Median, 99th percentile and worst, in microseconds."""
    ordered = sorted(seconds)
    return {
        "repeats": len(ordered),
        "median us": f"{1e6 * statistics.median(ordered):.1f}",
        "p99 us": f"{1e6 * ordered[int(0.99 * (len(ordered) - 1))]:.1f}",
        "worst us": f"{1e6 * ordered[-1]:.1f}",
    }


def _row(engine: Engine, length: int, seed: int) -> RandomRow:
    tokens = np.random.default_rng(seed).integers(0, engine.facts.vocab_size, length)
    return RandomRow(tokens, np.array([0, length]))


def _adapter(engine: Engine, rank: int, seed: int) -> Adapter:
    """One that was trained for a step, so that neither of its matrices is zero."""
    with Trainer(engine, TrainerConfig(rank=rank, alpha=2.0 * rank, learning_rate=1e-3, seed=seed)) as trainer:
        trainer.step([_row(engine, 16, seed)])
        return trainer.adapter()


def swap_seconds(engine: Engine, rank: int, repeats: int, summed: bool) -> list[float]:
    """Seconds of each `set_adapters`."""
    first, second = _adapter(engine, rank, 1), _adapter(engine, rank, 2)
    sets: list[AdapterSet] = [[first], [second]]
    if summed:
        sets = [[(first, 0.75), (second, 0.25)], [(first, 0.25), (second, 0.75)]]
    session = Session(engine)
    session.prefill(_row(engine, 16, 3).tokens)
    seconds = []
    for i in range(repeats):
        start = time.perf_counter()
        session.set_adapters(sets[i % 2])
        seconds.append(time.perf_counter() - start)
    return seconds


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0)


def pause_seconds(engine: Engine, rank: int, rows: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds until each pause holds, and until the step goes on after it."""
    trainer = Trainer(engine, TrainerConfig(rank=rank, alpha=2.0 * rank))
    batch = [_row(engine, rows, 4)]
    step = trainer.step(batch).seconds
    over = threading.Event()

    def train() -> None:
        while not over.is_set():
            trainer.step(batch)

    worker = threading.Thread(target=train)
    worker.start()
    pauses, resumes = [], []
    random = np.random.default_rng(5)
    try:
        for _ in range(repeats):
            time.sleep(float(random.uniform(0, min(step, 0.2))))
            start = time.perf_counter()
            trainer.pause()
            _until(lambda: trainer.progress().paused)
            pauses.append(time.perf_counter() - start)
            start = time.perf_counter()
            trainer.resume()
            _until(lambda: not trainer.progress().paused)
            resumes.append(time.perf_counter() - start)
    finally:
        over.set()
        trainer.resume()
        worker.join()
    return pauses, resumes


def restart_seconds(bundle: Path, rank: int, rows: int, threads: int, repeats: int) -> list[float]:
    """Seconds from nothing to a trainer that has taken up a checkpoint; the files are in the page cache."""
    config = TrainerConfig(rank=rank, alpha=2.0 * rank)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as folder:
        engine = Engine(bundle, num_threads=threads)
        with Trainer(engine, config) as trainer:
            trainer.step([_row(engine, rows, 4)])
            trainer.save_checkpoint(Path(folder))
        for _ in range(repeats):
            start = time.perf_counter()
            with Engine(bundle, num_threads=threads) as again, Trainer(again, config) as trainer:
                trainer.load_checkpoint(Path(folder))
                seconds.append(time.perf_counter() - start)
    return seconds


def _command(what: str) -> click.Command:
    def run(bundle: Path, rank: int, rows: int, threads: int, repeats: int, summed: bool, output: Path) -> None:
        engine = Engine(bundle, num_threads=threads)
        if what == "swap":
            seconds = swap_seconds(engine, rank, repeats, summed)
        elif what == "restart":
            seconds = restart_seconds(bundle, rank, rows, threads, repeats)
        else:
            both = pause_seconds(engine, rank, rows, repeats)
            seconds = both[0] if what == "pause" else both[1]
        setting = {"set": "sum of two" if summed else "one"} if what == "swap" else {"rows": rows}
        table: list[Row] = [{"bundle": bundle.name, "rank": rank, **setting, **summary(seconds)}]
        write(output, f"{what}_latency", f"{TITLES[what]}, {threads} threads", table)

    options = [
        click.argument("bundle", type=click.Path(path_type=Path)),
        click.option("--rank", default=16, show_default=True),
        click.option("--rows", default=64, show_default=True, help="Rows of a training step."),
        click.option("--threads", default=1, show_default=True),
        click.option("--repeats", default=1000, show_default=True),
        click.option("--sum", "summed", is_flag=True, help="swap: between weighted sums of the two."),
        click.option(
            "--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True
        ),
    ]
    decorated: Callable[..., None] = run
    for option in reversed(options):
        decorated = option(decorated)
    return click.command(what, help=f"{TITLES[what]}: median and worst.")(decorated)


COMMANDS = [_command(what) for what in TITLES]
