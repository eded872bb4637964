"""`data prepare` on a synthetic data set: rows a second, and the memory of all its processes.

Every kind of row in JSON Lines, words drawn by Zipf's law; 5 % of the rows repeat an earlier one, 5 % nearly do, 5 %
are broken. What the command says of them is compared with what was written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from benchmarks.results import REPOSITORY, megabytes, write

_BROKEN = ('{"text": "cut off', "{'question': 'quotes'}", '{"title": "no kind"}', '{"text": 5}', "plain text")
_BLOCK = 10_000


@dataclass
class DataSet:
    """What was written: the file, its broken lines, how many rows repeat and nearly repeat another."""

    path: Path
    rows: int = 0
    broken: list[int] = field(default_factory=list)
    repeated: int = 0
    nearly: int = 0


def _vocabulary(random: np.random.Generator, size: int) -> list[str]:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzäöüé"))
    return ["".join(random.choice(letters, length)) for length in random.integers(2, 11, size)]


def _row(kind: int, words: list[str]) -> dict[str, Any]:
    half = max(1, len(words) // 3)
    first, second = " ".join(words[:half]), " ".join(words[half:])
    if kind == 0:
        return {"text": " ".join(words)}
    if kind == 1:
        return {"question": first + "?", "answer": second}
    if kind == 2:
        return {"instruction": first, "input": "", "output": second}
    if kind == 3:
        return {"prompt": first, "completion": " " + second}
    return {"messages": [{"role": "user", "content": first}, {"role": "assistant", "content": second}]}


def generate(path: Path, rows: int, seed: int = 0) -> DataSet:
    """Write `rows` lines."""
    random = np.random.Generator(np.random.PCG64(seed))
    vocabulary = _vocabulary(random, 50_000)
    result = DataSet(path)
    with path.open("w", encoding="utf-8") as file:
        while result.rows < rows:
            _block(file.write, min(_BLOCK, rows - result.rows), random, vocabulary, result)
    return result


def _block(emit: Any, count: int, random: np.random.Generator, vocabulary: list[str], result: DataSet) -> None:
    lengths = random.integers(40, 140, count)
    # Zipf's law, cut off at the vocabulary.
    numbers = np.minimum(random.zipf(1.2, int(lengths.sum())), len(vocabulary)) - 1
    ends = np.cumsum(lengths)
    kinds, fates = random.integers(0, 5, count), random.random(count)
    earlier: list[tuple[int, list[str]]] = []
    for row in range(count):
        result.rows += 1
        fate = fates[row]
        if fate < 0.05:
            result.broken.append(result.rows)
            emit(_BROKEN[row % len(_BROKEN)] + "\n")
            continue
        words = [vocabulary[number] for number in numbers[ends[row] - lengths[row] : ends[row]].tolist()]
        kind = int(kinds[row])
        if fate < 0.15 and earlier:
            kind, words = earlier[int(random.integers(len(earlier)))]
            words = list(words)
            if fate < 0.10:
                result.repeated += 1
            else:
                result.nearly += 1
                words[len(words) // 2] = f"changed{result.rows}"
        else:
            earlier.append((kind, words))
        emit(json.dumps(_row(kind, words), ensure_ascii=False) + "\n")


def _resident(process: psutil.Process) -> int:
    """Bytes of a process and all that it started; pages that they share count for each."""
    return sum(_resident_alone(member) for member in (process, *process.children(recursive=True)))


def _resident_alone(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _peak(process: subprocess.Popen[bytes]) -> int:
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, _resident(watched))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    return peak


def measure(data: DataSet, output: Path, name: str, arguments: Sequence[object]) -> dict[str, Any]:
    """Run the command once; check what it says."""
    prepare = [sys.executable, "-m", "pocketlora_export", "data", "prepare"]
    command = [*prepare, data.path, "-o", output, "--json", *arguments]
    start, before = time.perf_counter(), os.times()
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, stdout=log) as process:
            peak = _peak(process)
        seconds, after = time.perf_counter() - start, os.times()
        if process.returncode != 0:
            raise SystemExit(f"{name}: exit code {process.returncode}")
        log.seek(0)
        stats = json.loads(log.read())
    listed = [json.loads(line)["line"] for line in (output / "rejected.jsonl").read_text("utf-8").splitlines()]
    removed = stats["rows"]["removed"]
    shutil.rmtree(output)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "run": name,
        "rows": data.rows,
        "input MB": megabytes(data.path.stat().st_size),
        "wall s": f"{seconds:.1f}",
        "rows/s": f"{data.rows / seconds:.0f}",
        "CPU s": f"{cpu:.1f}",
        "peak RSS MB, all processes": megabytes(peak),
        "broken rows named": f"{len(set(listed) & set(data.broken))} of {len(data.broken)}, {len(listed)} listed",
        "duplicates": f"{removed.get('duplicate', 0)} of {data.repeated}",
        "near-duplicates": f"{removed.get('near-duplicate', 0)} of {data.nearly}",
    }


@click.command(help=__doc__)
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--workers", default=0, show_default="one a core")
@click.option("--tokenizer", type=click.Path(path_type=Path), default=REPOSITORY / "models" / "pocket-llama-4m")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(rows: int, workers: int, tokenizer: Path, output: Path) -> None:
    """Command line of this file."""
    common = ["--template", "chatml", "--workers", workers]
    near = [*common, "--near-duplicates", "remove"]
    packed = [*near, "--tokenizer", tokenizer, "--pack", 1024]
    # A tenth as well: memory that grows with the rows would show.
    plan = {
        max(1, rows // 10): {"exact duplicates": common, "near-duplicates": near, "near-duplicates, packed": packed},
        rows: {"exact duplicates": common, "near-duplicates": near},
    }
    results = []
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        for count, runs in plan.items():
            data = generate(Path(work) / f"{count}.jsonl", count)
            results += [measure(data, Path(work) / "out", name, arguments) for name, arguments in runs.items()]
            data.path.unlink()
    write(output, "data_prepare", "data prepare", results)


if __name__ == "__main__":
    main()
