"""What a session's choices cost in quality: perplexity of held-out text, by --compute and --cache-dtype.

The shipped model (models/pocket-llama-4m) and the chapters that its training left out. Every choice reads the same
tokens, so the difference to fp32 has an error of its own, much smaller than that of the perplexity: it is the standard
error of the mean difference of windows.
"""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.results import REPOSITORY, Row, run_child, write
from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.session import CacheDtype, Compute, Session
from tools.demo_model import corpus
from tools.demo_model.data import held_out_windows

MODEL = REPOSITORY / "models" / "pocket-llama-4m"
LENGTH = 256
CHOICES: tuple[tuple[Compute, CacheDtype], ...] = (
    ("fp32", "fp32"),
    ("int16", "fp32"),
    ("int8", "fp32"),
    ("fp32", "fp16"),
    ("fp32", "int8"),
    ("int8", "int8"),
)


def window_loss(session: Session, window: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of a window's tokens but the first, each from a decode of its own."""
    session.reset()
    losses = []
    for token, target in itertools.pairwise(window):
        logits = np.asarray(session.decode(int(token)), dtype=np.float64)
        most = logits.max()
        losses.append(most + math.log(np.exp(logits - most).sum()) - logits[target])
    return statistics.fmean(losses)


def losses_of(engine: Engine, compute: Compute, cache: CacheDtype, windows: NDArray[np.int64]) -> list[float]:
    """The loss of each window."""
    with Session(engine, context_length=LENGTH, compute=compute, cache_dtype=cache) as session:
        return [window_loss(session, window) for window in windows]


def rows_of(scheme: str, engine: Engine, windows: NDArray[np.int64]) -> list[Row]:
    """A row for each choice; the first is what the others are compared with."""
    table: list[Row] = []
    exact: list[float] = []
    for compute, cache in CHOICES:
        losses = losses_of(engine, compute, cache, windows)
        exact = exact or losses
        apart = [loss - base for loss, base in zip(losses, exact, strict=True)]
        error = statistics.stdev(apart) / math.sqrt(len(apart))
        table.append(
            {
                "scheme": scheme,
                "compute": compute,
                "cache": cache,
                "perplexity": f"{math.exp(statistics.fmean(losses)):.4f}",
                "loss beyond fp32": f"{statistics.fmean(apart):+.6f}",
                "standard error": f"{error:.6f}",
            }
        )
    return table


@click.command(help=__doc__)
@click.option("--windows", default=40, show_default=True, help=f"Windows of {LENGTH} tokens, of all that there are.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/perplexity"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(windows: int, work: Path, output: Path) -> None:
    """Command line of this file."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    chapters = corpus.hold_out(corpus.load_chapters(work / "corpus"))[1]
    rows = held_out_windows(tokenizer, chapters, LENGTH).numpy()
    rows = rows[np.linspace(0, len(rows) - 1, min(windows, len(rows))).astype(int)]
    table: list[Row] = []
    for scheme in ("nf4", "int4"):
        bundle = work / scheme
        if not bundle.exists():
            run_child("pocketlora_export", "bundle", "-m", MODEL, "-o", bundle, "--quant", scheme)
        with Engine(bundle) as engine:
            table += rows_of(scheme, engine, rows)
    write(output, "perplexity", f"Perplexity of {len(rows)} held-out windows of {LENGTH} tokens", table)


if __name__ == "__main__":
    main()
