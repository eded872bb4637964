"""The base stays on clean pages, and what training allocates is what the bundle said it would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory import PARTS
from benchmarks.random_model import write_random_model
from tests.support.bundles import run_cli

Record = Callable[[str, object], None]


def probe(bundle: Path, repository: Path) -> dict[str, Any]:
    """Train at the bundle's limits in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.train_probe", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["torch_loaded"]
    return found


def check(found: dict[str, Any], record: Record) -> None:
    """Hold the account to the plan; report RssAnon beside it."""
    plan, memory = found["plan"], found["memory"]
    planned = sum(plan[name] for name in PARTS)
    record("planned_bytes", planned)
    record("rss_anon", memory["rss_anon"])
    print(f"plan {planned / 1e6:.1f} MB, RssAnon {memory['rss_anon'] / 1e6:.1f} MB", end="; ")
    print(f"of which {found['opened']['rss_anon'] / 1e6:.1f} MB (Python, libraries) when the bundle was opened")
    assert memory["base_private_dirty"] == 0
    assert memory["base_resident"] > 0
    for name, part in PARTS.items():
        assert 0 < memory[part] <= plan[name], f"{name}: {memory[part]} allocated, {plan[name]} planned"


def test_account_and_plan(shipped_bundle: Path, repository: Path, record_property: Record) -> None:
    check(probe(shipped_bundle, repository), record_property)


@pytest.mark.slow
def test_135m_shape(tmp_path: Path, repository: Path, record_property: Record) -> None:
    write_random_model(tmp_path / "model", "135m")
    run_cli("bundle", "-m", tmp_path / "model", "-o", tmp_path / "bundle", "--quant", "nf4")
    found = probe(tmp_path / "bundle", repository)
    check(found, record_property)
    # A second copy of the base on the heap would show here: it alone is larger than everything else together.
    base = (tmp_path / "bundle" / "base.ptd").stat().st_size
    grown = found["memory"]["rss_anon"] - found["opened"]["rss_anon"]
    planned = sum(found["plan"][name] for name in PARTS)
    assert grown < planned + base / 2
