"""Stacked bars of memory parts, one a setting, with a budget as a line; a whole SVG file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pocketlora_export.report.chart import Axis, nice_ticks

_MB = 1e6
_LEFT, _TOP, _BOTTOM, _BAR, _GAP, _HEIGHT, _LEGEND = 64, 56, 96, 46, 22, 260, 210
# Distinct in hue and lightness, on white and on a dark page alike.
_COLOURS = ("#4c78a8", "#9ecae9", "#f58518", "#ffbf79", "#54a24b", "#88d27a", "#b79a20", "#bab0ac", "#79706e")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}"
    ".base{stroke:#666}.budget{stroke:#d62728;stroke-width:2;stroke-dasharray:7 4}.limit{fill:#d62728}"
)


@dataclass(frozen=True)
class Bar:
    """A setting: lines of its label, and bytes by part."""

    label: Sequence[str]
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Budget:
    """A line across the bars."""

    label: str
    nbytes: int


def memory_chart(title: str, bars: Sequence[Bar], budget: Budget | None = None) -> str:
    """An SVG document: bars from the bottom up in the order of their parts, megabytes (10^6 bytes) on the axis.

    Args:
        title: shown above, and read by screen readers.
        bars: at least one.
        budget: what they are held against.
    """
    names = [name for name in bars[0].parts if any(bar.parts[name] for bar in bars)]
    colours = dict(zip(names, _COLOURS * (1 + len(names) // len(_COLOURS)), strict=False))
    right = _LEFT + len(bars) * (_BAR + _GAP) + _GAP
    highest = max([bar.total for bar in bars] + ([budget.nbytes] if budget else [])) / _MB
    ticks = nice_ticks(0, highest)
    y = Axis(0, ticks[-1], _TOP + _HEIGHT, _TOP, ticks)
    parts = [
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
        *_grid(y, right),
        *(piece for index, bar in enumerate(bars) for piece in _bar(index, bar, y, colours)),
        *(_budget(budget, y, right) if budget else []),
        *_legend(colours, right + 16),
    ]
    width, height = right + _LEGEND, _TOP + _HEIGHT + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _grid(y: Axis, right: float) -> list[str]:
    lines = [
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in y.ticks
    ]
    unit = f'<text x="{_LEFT - 8}" y="{_TOP - 14}" text-anchor="end">MB</text>'
    return [*lines, unit, f'<line class="base" x1="{_LEFT}" x2="{right}" y1="{y.start}" y2="{y.start}"/>']


def _bar(index: int, bar: Bar, y: Axis, colours: Mapping[str, str]) -> list[str]:
    left, below, pieces = _LEFT + _GAP + index * (_BAR + _GAP), 0.0, []
    for name, colour in colours.items():
        size = bar.parts[name] / _MB
        if size > 0:
            top, bottom = y(below + size), y(below)
            pieces.append(
                f'<rect x="{left}" y="{top:.1f}" width="{_BAR}" height="{bottom - top:.1f}" fill="{colour}">'
                f"<title>{escape(name)}: {size:.1f} MB</title></rect>"
            )
        below += size
    middle = left + _BAR / 2
    pieces.append(f'<text x="{middle}" y="{y(below) - 6:.1f}" text-anchor="middle">{below:.0f}</text>')
    pieces += [
        f'<text x="{middle}" y="{y.start + 18 + 15 * line}" text-anchor="middle">{escape(text)}</text>'
        for line, text in enumerate(bar.label)
    ]
    return pieces


def _budget(budget: Budget, y: Axis, right: float) -> list[str]:
    at = y(budget.nbytes / _MB)
    return [
        f'<line class="budget" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>',
        f'<text class="limit" x="{right + 4}" y="{at + 4:.1f}">{escape(budget.label)}</text>',
    ]


def _legend(colours: Mapping[str, str], left: float) -> list[str]:
    bottom = _TOP + _HEIGHT
    return [
        f'<rect x="{left}" y="{bottom - 12 - 19 * row}" width="12" height="12" fill="{colour}"/>'
        f'<text x="{left + 18}" y="{bottom - 2 - 19 * row}">{escape(name)}</text>'
        for row, (name, colour) in enumerate(colours.items())
    ]


def write_chart(path: Path, svg: str) -> None:
    """Write an SVG; it appears under its name only when it is complete."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(svg)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
