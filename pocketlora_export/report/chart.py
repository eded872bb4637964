"""Line charts as inline SVG: axes, labels, a legend; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 48


@dataclass(frozen=True)
class Series:
    """Points (x, y) in order of x. `style` is a CSS class; `markers` draws a dot at each point."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    markers: bool = False


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels, and its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float]

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high]."""
    size = max(1.0, abs(low), abs(high))
    # Values that hardly differ are drawn as a level line, not blown up to their rounding errors.
    span = high - low if high - low > 1e-6 * size else 0.1 * size
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that covers the values from tick to tick."""
    ticks = nice_ticks(min(values), max(values))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def tight_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that ends where the values do, with the round numbers between as ticks."""
    whole, low, high = axis(values, start, end), min(values), max(values)
    if low == high:
        return whole
    return Axis(low, high, start, end, [tick for tick in whole.ticks if low <= tick <= high])


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str) -> str:
    """One chart as an `<svg>` element.

    Args:
        title: shown above, and read by screen readers.
        series: at least one with at least one point.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
    """
    points = [point for one in series for point in one.points]
    x = tight_axis([p[0] for p in points], LEFT, WIDTH - RIGHT)
    y = axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    parts = [
        *_grid(x, y),
        *(_curve(one, x, y) for one in series),
        *_legend(series),
        _label(x_label, f"translate({(x.start + x.end) / 2} {HEIGHT - 8})"),
        _label(y_label, f"translate(14 {(y.start + y.end) / 2}) rotate(-90)"),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _label(text: str, transform: str) -> str:
    return f'<text class="axis" transform="{transform}" text-anchor="middle">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:g}"


def _grid(x: Axis, y: Axis) -> list[str]:
    lines = [
        f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick" x="{x.start - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{_number(t)}</text>'
        for t in y.ticks
    ]
    labels = [
        f'<text class="tick" x="{x(t):.1f}" y="{y.start + 18}" text-anchor="middle">{_number(t)}</text>'
        for t in x.ticks
    ]
    return [*lines, *labels, f'<line class="base" x1="{x.start}" x2="{x.end}" y1="{y.start}" y2="{y.start}"/>']


def _curve(series: Series, x: Axis, y: Axis) -> str:
    pixels = [(x(px), y(py)) for px, py in series.points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in pixels)
    dots = "".join(
        f'<circle class="{series.style}" cx="{px:.1f}" cy="{py:.1f}" r="4"><title>{escape(series.name)}: step '
        f"{_number(vx)}, {vy:.3f}</title></circle>"
        for (px, py), (vx, vy) in zip(pixels, series.points, strict=True)
        if series.markers
    )
    return f'<polyline class="{series.style}" points="{path}"/>{dots}'


def _legend(series: Sequence[Series]) -> list[str]:
    # A letter of the legend's font is about 7 units wide.
    offsets = [LEFT + sum(40 + 7 * len(one.name) for one in series[:i]) for i in range(len(series))]
    return [
        f'<line class="{one.style}" x1="{at}" x2="{at + 20}" y1="20" y2="20"/>'
        f'<text class="legend" x="{at + 26}" y="24">{escape(one.name)}</text>'
        for at, one in zip(offsets, series, strict=True)
    ]
