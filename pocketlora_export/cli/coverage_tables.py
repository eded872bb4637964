"""Coverage for people: a table on stdout, and the chart."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pocketlora_export.lower.coverage import PLACES, StageCoverage
from pocketlora_export.report.share_chart import ShareRow, share_chart

_WIDTH = 160
_NAMES = {"delegate": "delegates", "custom": "our kernels", "portable": "portable"}


def print_coverage(backend: str, stages: Sequence[StageCoverage]) -> None:
    """Everything on stdout."""
    out = Console(highlight=False)
    out = out if out.is_terminal else Console(highlight=False, width=_WIDTH)
    title = f"{backend}: operations (number of ops) by place"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stage")
    columns = ("MFLOP", *(_NAMES[place] for place in PLACES), "delegate calls", "crossings", "MB across")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("breaks a partition")
    for stage in stages:
        table.add_row(*_cells(stage))
    out.print(table)


def _cells(stage: StageCoverage) -> list[str]:
    places = [f"{stage.share(place):.1%} ({stage.count(place)})" for place in PLACES]
    return [
        f"{stage.stage} [{stage.rows}]",
        f"{stage.flops() / 1e6:,.1f}",
        *places,
        str(stage.delegates),
        str(stage.crossings),
        f"{stage.crossing_bytes / 1e6:,.2f}",
        ", ".join(stage.breaking) or "–",
    ]


def summary(stages: Sequence[StageCoverage]) -> str:
    """One line: the share in delegates and our kernels over all stages, and how many delegate calls."""
    total = max(sum(stage.flops() for stage in stages), 1)
    shares = {place: sum(stage.flops(place) for stage in stages) / total for place in PLACES}
    calls = sum(stage.delegates for stage in stages)
    return ", ".join(f"{_NAMES[place]} {shares[place]:.1%}" for place in PLACES) + f"; {calls} delegate calls"


def chart_of(backend: str, stages: Sequence[StageCoverage]) -> str:
    """An SVG document."""
    rows = [
        ShareRow(
            f"{stage.stage} [{stage.rows}]",
            {_NAMES[place]: stage.share(place) for place in PLACES},
            f"{stage.flops() / 1e6:,.1f} MFLOP, {stage.delegates} delegate calls, {stage.crossing_bytes / 1e6:,.2f} MB",
        )
        for stage in stages
    ]
    title = f"Where operations run: {backend}" + (" (lowered, not run)" if backend == "vulkan" else "")
    return share_chart(title, rows)
