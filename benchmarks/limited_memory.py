"""A training step of a bundle in a memory control group, its base read from disk: what it takes, and how long."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.cgroup import MemoryGroup, evict, memory_group
from benchmarks.results import REPOSITORY, megabytes, write
from pocketlora_export.cli.values import SIZE

RUNNER = REPOSITORY / "build" / "host" / "tools" / "pocketlora_run"
PARTS = ("arena", "block_inputs", "adapter", "gradients", "optimizer", "kv_cache", "scratch", "other")


@dataclass(frozen=True)
class Run:
    """What one run of the runner said, and what the system said of it. Bytes; `losses` of every step."""

    plan: dict[str, Any]
    complete: dict[str, Any]
    losses: list[float]
    group_peak: int
    rss_anon_peak: int
    read_bytes: int
    major_faults: int


def write_rows(path: Path, rows: int, tokens: int, vocabulary: int) -> None:
    """Rows of random token ids."""
    numbers = random.Random(0)
    lines = ({"token_ids": [numbers.randrange(vocabulary) for _ in range(tokens)]} for _ in range(rows))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@contextmanager
def watched(pid: int) -> Iterator[dict[str, int]]:
    """Follow a process' RssAnon while the block runs; the largest value is under "peak"."""
    seen, done = {"peak": 0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("RssAnon:"):
                    seen["peak"] = max(seen["peak"], int(line.split()[1]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def run_in_group(command: list[str], group: MemoryGroup) -> Run:
    """Run the runner inside the group; its failure is this process' failure."""
    # A shell enters the group and becomes the runner: nothing of Python runs between fork and exec.
    enter = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.procs), *command]
    child = subprocess.Popen(enter, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with watched(child.pid) as seen:
        events = [json.loads(line) for line in child.stdout]
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    by_name = {event["event"]: event for event in events}
    if child.returncode != 0 or "complete" not in by_name:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}: {by_name.get('error')}")
    losses = [event["loss"] for event in events if event["event"] == "progress"]
    read = usage.ru_inblock * 512
    return Run(
        by_name["plan"],
        by_name["complete"],
        losses,
        group.peak(),
        seen["peak"],
        read,
        by_name["complete"]["major_faults"],
    )


def table(run: Run, base: int, cached: int, limit: int) -> list[dict[str, Any]]:
    """One row a figure."""
    memory, plan = run.complete["memory"], run.plan
    beyond = run.rss_anon_peak - memory["adapter"] - memory["optimizer"]
    rows: list[tuple[str, str]] = [
        ("base.ptd, MB", megabytes(base)),
        ("of it cached before the run, MB", megabytes(cached)),
        ("limit of the control group, MB", megabytes(limit)),
        ("peak of the control group, page cache included, MB", megabytes(run.group_peak)),
        *((f"{part}, MB", megabytes(memory[part])) for part in PARTS if memory[part]),
        ("peak of the parts, MB", megabytes(memory["peak"])),
        ("planned, MB", megabytes(plan["planned"])),
        ("RssAnon, peak, MB", megabytes(run.rss_anon_peak)),
        ("RssAnon beyond adapter and optimizer, MB", megabytes(beyond)),
        ("RssFile at the end, MB", megabytes(memory["rss_file"])),
        ("base.ptd private dirty, MB", megabytes(memory["base_private_dirty"])),
        ("rows a pass, activations", f"{plan['max_rows']}, {plan['activations']}"),
        ("weights streamed", "yes" if plan["streams_weights"] else "no"),
        ("scratch file, MB", megabytes(plan["spilled"])),
        ("major faults", str(run.major_faults)),
        ("read from disk, MB", megabytes(run.read_bytes)),
        ("seconds a step", f"{run.complete['seconds_per_step']:.1f}"),
        ("losses", ", ".join(f"{loss:.4f}" for loss in run.losses)),
    ]
    return [{"": name, "value": value} for name, value in rows]


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--limit", type=SIZE, default="3GB", show_default=True, help="Of the control group.")
@click.option("--memory-limit", type=SIZE, help="Of the runtime's own memory.")
@click.option("--weights", type=click.Choice(["auto", "keep", "stream"]), default="auto", show_default=True)
@click.option("--activations", default="auto", show_default=True)
@click.option("--scratch-dir", type=click.Path(path_type=Path))
@click.option("--tokens", default=256, show_default=True, help="Of the step's only row.")
@click.option("--rank", default=16, show_default=True)
@click.option("--iters", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--runner", type=click.Path(path_type=Path), default=RUNNER)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(bundle: Path, limit: int, memory_limit: int | None, runner: Path, output: Path, **options: Any) -> None:
    """Command line of this file."""
    facts = json.loads((bundle / "manifest.json").read_text())
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work, memory_group(limit) as group:
        rows = Path(work) / "rows.jsonl"
        write_rows(rows, options["iters"], options["tokens"], facts["model"]["vocab_size"])
        command = [str(runner), "train", str(bundle), "--data", str(rows), "--output", f"{work}/adapter"]
        command += ["--batch-size", "1"]
        for name in ("iters", "rank", "threads", "weights", "activations"):
            command += [f"--{name}", str(options[name])]
        if memory_limit is not None:
            command += ["--memory-limit", str(memory_limit)]
        if options["scratch_dir"] is not None:
            command += ["--scratch-dir", str(options["scratch_dir"])]
        base = bundle / "base.ptd"
        cached = evict(base)
        if cached > base.stat().st_size // 100:
            raise SystemExit(f"{base}: {megabytes(cached)} MB stay in the page cache: another process maps the file")
        start = time.perf_counter()
        run = run_in_group(command, group)
        print(f"whole process {time.perf_counter() - start:.1f} s")
    name = f"limited-memory-{bundle.name}-{limit // 10**6}MB"
    title = f"A training step of {facts['model']['name']} in {megabytes(limit)} MB, {options['tokens']} tokens"
    write(output, name, title, table(run, base.stat().st_size, cached, limit))


if __name__ == "__main__":
    main()
