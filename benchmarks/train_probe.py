"""Trains a few steps on random tokens and prints the runtime's memory account. Loads numpy and the runtime only."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.proc_status import process_memory
from pocketlora_export.runtime import Recompute, Trainer, TrainerConfig
from pocketlora_export.runtime.arrays import Int64Array
from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.session import COMPUTES, Compute


@dataclasses.dataclass(frozen=True)
class RandomRow:
    """One row of random tokens that fills a micro-batch."""

    tokens: Int64Array
    segments: Int64Array

    @property
    def labels(self) -> Int64Array:
        """Every token is a label."""
        return self.tokens


def probe(
    bundle: Path,
    rows: int,
    rank: int,
    steps: int,
    threads: int,
    backend: str = "auto",
    recompute: str = "auto",
    compute: Compute = "fp32",
) -> dict[str, Any]:
    """Median seconds a step, and the memory after the last one."""
    engine = Engine(bundle, backend=backend, num_threads=threads)
    opened = engine.memory()
    facts = engine.facts
    length, used_rank = rows or facts.train_t_max, rank or facts.max_rank
    config = TrainerConfig(
        rank=used_rank,
        alpha=2.0 * used_rank,
        learning_rate=1e-4,
        recompute=Recompute[recompute.upper()],
        compute=compute,
    )
    trainer = Trainer(engine, config)
    random = np.random.default_rng(0)
    seconds = []
    for _ in range(steps):
        tokens = random.integers(0, facts.vocab_size, length)
        seconds.append(trainer.step([RandomRow(tokens, np.array([0, length]))]).seconds)
    return {
        "rows": length,
        "rank": used_rank,
        "seconds": statistics.median(seconds),
        "opened": dataclasses.asdict(opened),
        "memory": dataclasses.asdict(engine.memory()) | process_memory(),
        "plan": facts.manifest["memory"],
        "torch_loaded": "torch" in sys.modules,
    }


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--rows", default=0, show_default="the bundle's train_t_max")
@click.option("--rank", default=0, show_default="the bundle's max_rank")
@click.option("--steps", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option("--recompute", type=click.Choice(["auto", "full", "selective"]), default="auto", show_default=True)
@click.option("--compute", type=click.Choice(COMPUTES), default="fp32", show_default=True)
def main(
    bundle: Path, rows: int, rank: int, steps: int, threads: int, backend: str, recompute: str, compute: Compute
) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(bundle, rows, rank, steps, threads, backend, recompute, compute)))


if __name__ == "__main__":
    main()
