"""What a person sees of a training: a live bar on a terminal, plain lines elsewhere, stdout for results only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pocketlora_export.cli import console
from pocketlora_export.cli.train_display import BLOCKS, TrainDisplay, sparkline
from tests.cli.conftest import Cli
from tests.support.bundles import Bundled


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline(range(8)) == BLOCKS
    assert sparkline([3.0, 1.0, None, float("nan"), 2.0]) == "█▁··▅"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([None]) == "·"


def event(step: int, **changes: Any) -> dict[str, Any]:
    values = {"tokens_per_second": 812.4, "grad_norm": 0.5, "rss_anon": 123e6, "seconds_left": 3725.0, "loss": 2.5}
    return {"event": "progress", "step": step, "steps": 3, **values, **changes}


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=140, highlight=False)
    monkeypatch.setattr(console, "stderr", terminal)
    display = TrainDisplay()
    with display.running(3):
        for step, loss in enumerate((3.0, 2.0, 1.0), 1):
            display.progress(event(step, loss=loss))
        assert display._bar is not None
        display._bar[0].refresh()
    shown = screen.getvalue()
    for text in ("3/3", "1.0000", "█▅▁", "812 tokens/s", "gradient norm 0.5000", "RssAnon 123 MB", "1:02:05"):
        assert text in shown


def test_a_log_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=log, width=80, highlight=False))
    display = TrainDisplay()
    with display.running(3):
        display.progress(event(1))
        display.progress(event(2))  # within a second of the first
        display.progress(event(3, loss=None, seconds_left=-1))
    first, last = log.getvalue().splitlines()
    assert first == "step 1 of 3: loss 2.5000, 812 tokens/s, gradient norm 0.5000, RssAnon 123 MB, 1:02:05 left"
    assert last.startswith("step 3 of 3: loss not finite, ")
    assert "left" not in last


def test_stdout_has_results_only(call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path) -> None:
    result = call("train", tiny_bundle.bundle, "--data", text_rows, "--output", tmp_path / "a", "--iters", 2)
    assert result.exit_code == 0, result.output
    assert "step 2 of 2: loss " in result.stderr
    assert "step 2 of 2" not in result.stdout
