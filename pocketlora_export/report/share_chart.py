"""Bars of shares that add up to a whole, one a row; a whole SVG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _TOP, _ROW, _BAR, _WIDTH, _NOTE = 150, 84, 34, 20, 420, 330
_COLOURS = ("#54a24b", "#4c78a8", "#d62728", "#bab0ac")
_STYLE = "text{font:12px system-ui,sans-serif;fill:#444}.title{font-size:15px;font-weight:600}.in{fill:#fff}"


@dataclass(frozen=True)
class ShareRow:
    """A row: its label, shares (0 to 1) by part, and a note behind it."""

    label: str
    shares: Mapping[str, float]
    note: str


def share_chart(title: str, rows: Sequence[ShareRow]) -> str:
    """An SVG document.

    Args:
        title: shown above, and read by screen readers.
        rows: at least one; all have the same parts.
    """
    colours = dict(zip(rows[0].shares, _COLOURS, strict=False))
    height, width = _TOP + _ROW * len(rows) + 12, _LEFT + _WIDTH + _NOTE
    parts = [f'<text class="title" x="16" y="26">{escape(title)}</text>', *_legend(colours)]
    parts += [piece for number, row in enumerate(rows) for piece in _row(_TOP + _ROW * number, row, colours)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _legend(colours: Mapping[str, str]) -> list[str]:
    return [
        f'<rect x="{_LEFT + 150 * number}" y="46" width="12" height="12" fill="{colour}"/>'
        f'<text x="{_LEFT + 150 * number + 18}" y="56">{escape(name)}</text>'
        for number, (name, colour) in enumerate(colours.items())
    ]


def _row(top: float, row: ShareRow, colours: Mapping[str, str]) -> list[str]:
    left, pieces = float(_LEFT), [f'<text x="{_LEFT - 10}" y="{top + 14}" text-anchor="end">{escape(row.label)}</text>']
    for name, colour in colours.items():
        size = row.shares[name] * _WIDTH
        if size > 0:
            pieces.append(
                f'<rect x="{left:.1f}" y="{top}" width="{size:.1f}" height="{_BAR}" fill="{colour}">'
                f"<title>{escape(row.label)}: {escape(name)} {row.shares[name]:.1%}</title></rect>"
            )
        if size > 44:
            middle = left + size / 2
            text = f"{row.shares[name]:.1%}"
            pieces.append(f'<text class="in" x="{middle:.1f}" y="{top + 14}" text-anchor="middle">{text}</text>')
        left += size
    return [*pieces, f'<text x="{_LEFT + _WIDTH + 12}" y="{top + 14}">{escape(row.note)}</text>']
