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


def random_bundle(shape: str, work: Path) -> Path:
    """A bundle of random weights in the shape of a known model."""
    write_random_model(work / "model", shape)
    run_cli("bundle", "-m", work / "model", "-o", work / "bundle", "--quant", "nf4")
    return work / "bundle"


def test_135m_shape(tmp_path: Path, repository: Path, record_property: Record) -> None:
    bundle = random_bundle("135m", tmp_path)
    found = probe(bundle, repository)
    check(found, record_property)
    # A second copy of the base on the heap would show here.
    grown = found["memory"]["rss_anon"] - found["opened"]["rss_anon"]
    planned = sum(found["plan"][name] for name in PARTS)
    assert grown < planned + (bundle / "base.ptd").stat().st_size / 2


@pytest.mark.slow
def test_1b_shape(tmp_path: Path, repository: Path, record_property: Record) -> None:
    """Beside the adapter, its gradients and its optimizer state: at most 300 MB of anonymous memory at 256 rows."""
    found = probe(random_bundle("1b", tmp_path), repository)
    check(found, record_property)
    memory = found["memory"]
    rest = memory["rss_anon"] - memory["adapter"] - memory["gradients"] - memory["optimizer"]
    print(f"beside adapter, gradients and optimizer: {rest / 1e6:.1f} MB")
    assert found["rows"] == 256
    assert rest <= 300e6
