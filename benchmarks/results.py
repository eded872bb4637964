"""What every benchmark shares: the machine, child processes with their peak memory, JSON and Markdown."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
REPOSITORY = Path(__file__).resolve().parent.parent


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # in an environment without it, what was measured is still worth keeping
        return "not installed"


def environment() -> dict[str, Any]:
    """The machine and the versions that a result belongs to."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    packages = ("torch", "executorch", "torchao", "transformers", "peft")
    return {
        "build_commit": commit.stdout.strip(),
        "cpu_info": _cpu_name(),
        "cores": os.cpu_count(),
        "test_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: _version(name) for name in packages},
    }


@dataclass(frozen=True)
class Child:
    """A finished process: its output, wall and CPU time in seconds and peak resident memory in bytes."""

    stdout: str
    seconds: float
    cpu_seconds: float
    peak_rss: int


def run_child(
    module: str,
    *arguments: object,
    extra_path: Path | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Run a Python module in a process of its own; its failure is this process's failure.

    `extra_path`: a folder of further packages. `timeout`: seconds after which it is given up. `environment`: its
    environment variables, this process's if None.
    """
    later = {} if extra_path is None else {"PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(extra_path)))}
    with tempfile.NamedTemporaryFile(prefix="pocketlora-peak-") as peak:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peak", peak.name, module, *map(str, arguments)]
        start, before = time.perf_counter(), os.times()
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
                check=False,
                env={**(os.environ if environment is None else environment), **later},
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{module}: not finished in {timeout:.0f} s") from None
        seconds, after = time.perf_counter() - start, os.times()
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Child(done.stdout, seconds, cpu, int(Path(peak.name).read_text()))


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; the columns are the keys of all rows, in the order in which they come first."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([str(row.get(c, "")) for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(directory: Path, name: str, title: str, rows: Sequence[Row]) -> None:
    """Write `<name>.json` and `<name>.md`, and print the table."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = environment()
    (directory / f"{name}.json").write_text(json.dumps({"environment": facts, "rows": list(rows)}, indent=2) + "\n")
    where = f"{facts['cpu_info']}, {facts['cores']} cores, {facts['test_time']}, commit {facts['build_commit']}"
    text = f"# {title}\n\n{where}\n\n{markdown(rows)}"
    (directory / f"{name}.md").write_text(text)
    sys.stdout.write(text)


def megabytes(count: float) -> str:
    """Bytes as MB (10^6) with one decimal."""
    return f"{count / 1e6:.1f}"
