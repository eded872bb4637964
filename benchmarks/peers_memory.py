"""Resident memory beside the peers', in one run: a training step, and a loaded model that has generated.

Every program runs in a process of its own on the same random weights. Peers that the project does not need are
installed on demand, with pip, into build/peers; one that cannot be installed or run is listed with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.random_gguf import write_gguf
from benchmarks.random_model import SHAPES, write_random_model
from benchmarks.results import REPOSITORY, Child, megabytes, run_child, write

PEERS = REPOSITORY / "build" / "peers"
RANK = 16
Found = dict[str, Any]


def install(*packages: str) -> None:
    """Install peers beside the project's own environment; what is installed already stays."""
    PEERS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
    constraints = ["-c", str(REPOSITORY / "constraints.txt")]
    wanted = [name for name in packages if not (PEERS / name).exists()]
    if wanted and subprocess.run([*command, *constraints, *wanted], check=False).returncode:
        raise SystemExit(f"pip could not install {' '.join(wanted)}")


def _last_line(child: Child) -> Found:
    found: Found = json.loads(child.stdout.splitlines()[-1])
    return found


def _bundle(work: Path) -> Path:
    if not (work / "bundle").exists():
        run_child("pocketlora_export", "bundle", "-m", work / "model", "-o", work / "bundle", "--quant", "nf4")
    return work / "bundle"


def _gguf(work: Path) -> Path:
    path = work / "model.q4_0.gguf"
    if not path.exists():
        write_gguf(work / "model", path)
    return path


def _train(work: Path, rows: int, threads: int) -> Found:
    options = ("--rows", rows, "--rank", RANK, "--steps", 1, "--threads", threads)
    return _last_line(run_child("benchmarks.train_probe", _bundle(work), *options))


def _peft(work: Path, rows: int, threads: int, base: str, timeout: float) -> Found:
    options = ("--base", base, "--rows", rows, "--rank", RANK, "--steps", 1, "--threads", threads)
    if base == "bnb-nf4":
        install("bitsandbytes", "accelerate")
    return _last_line(run_child("benchmarks.peft_probe", work / "model", *options, extra_path=PEERS, timeout=timeout))


def _generate(work: Path, threads: int) -> Found:
    return _last_line(run_child("benchmarks.generate_probe", _bundle(work), "--threads", threads))


def _llama_cpp(work: Path, threads: int) -> Found:
    install("xllamacpp")
    return _last_line(run_child("benchmarks.llama_cpp_probe", _gguf(work), "--threads", threads, extra_path=PEERS))


def row_of(work: str, name: str, measure: Callable[[], Found]) -> dict[str, str]:
    """One program: memory after its work, or why there is none."""
    try:
        found = measure()
    except SystemExit as failure:
        return {"work": work, "": name, "RssAnon MB": f"did not run: {failure}"}
    memory = found["memory"]
    return {
        "work": work,
        "": name,
        "RssAnon MB": megabytes(memory["rss_anon"]),
        "RssFile MB": megabytes(memory["rss_file"]),
        "peak RSS MB": megabytes(memory["peak_rss"]),
        "seconds": f"{found['seconds']:.3f}",
    }


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="1b", show_default=True)
@click.option("--rows", default=256, show_default=True, help="Tokens of the training step.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--timeout", default=900.0, show_default=True, help="Seconds for a peer's training step, loading included."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/peers-work"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(shape: str, rows: int, threads: int, timeout: float, work: Path, output: Path) -> None:
    """Command line of this file."""
    place = work / shape
    if not (place / "model").exists():
        write_random_model(place / "model", shape)
    step, decode = f"training step, {rows} rows", "128 tokens read, 16 written"
    table = [
        row_of(decode, "PocketLoRA, NF4", lambda: _generate(place, threads)),
        row_of(decode, "llama.cpp, Q4_0", lambda: _llama_cpp(place, threads)),
        row_of(step, "PocketLoRA, NF4", lambda: _train(place, rows, threads)),
        row_of(step, "PEFT, float32 base", lambda: _peft(place, rows, threads, "float32", timeout)),
        row_of(step, "PEFT, bfloat16 base", lambda: _peft(place, rows, threads, "bfloat16", timeout)),
        row_of(step, "PEFT + bitsandbytes NF4", lambda: _peft(place, rows, threads, "bnb-nf4", timeout)),
    ]
    title = f"Resident memory, {shape}, LoRA rank {RANK} on all linear layers, {threads} threads"
    write(output, "peers_memory", title, table)


if __name__ == "__main__":
    main()
