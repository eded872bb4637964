"""A chart of horizontal bars in groups, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_LEFT, _WIDTH, _BAR = 230, 420, 18


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Bars of each group on a scale of the group's own; the first of a group is drawn in another colour."""
    parts, top = [f'<text x="12" y="22" font-weight="bold">{escape(title)}</text>'], 48
    for group, values in groups.items():
        parts.append(f'<text x="12" y="{top}">{escape(group)}</text>')
        top += 8
        for number, (name, value) in enumerate(values.items()):
            size = _WIDTH * value / max(values.values())
            colour = "#1f6feb" if number == 0 else "#8c959f"
            middle = top + _BAR - 5
            parts.append(f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{_LEFT}" y="{top}" width="{size:.1f}" height="{_BAR - 3}" fill="{colour}"/>')
            parts.append(f'<text x="{_LEFT + size + 6:.1f}" y="{middle}">{value:.3g} {escape(unit)}</text>')
            top += _BAR
        top += 24
    width = _LEFT + _WIDTH + 130
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{top}" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )
