"""Draws the bands of limits under which a subject starts, as text and as SVG.

The axis is logarithmic. A column or a point between two limits that were tried differently is
unknown: the edge lies in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from foothold_lab.harness.threshold.bisection import Band, Threshold, about

_COLUMNS = 64
_STARTS, _DIES, _UNKNOWN = "█", "·", "▒"
_WIDTH, _ROW, _LEFT, _TOP = 900, 34, 230, 46  # pixels
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.starts{fill:#2e7d4f}.dies{fill:#e4b4ae}"
    ".tick{stroke:#999}.soft{fill:#666}"
)


def draw_text(bands: Sequence[Band]) -> Iterator[str]:
    """Yield the lines of a drawing: a strip with its ends, and one line for each band."""
    low, high = bands[0].first, bands[-1].last
    strip = "".join(_column(bands, low, high, n) for n in range(_COLUMNS))
    yield f"{about(low)} {strip} {about(high)}"
    yield f"{_STARTS} starts, {_DIES} does not start, {_UNKNOWN} between; the axis is logarithmic"
    yield from map(str, bands)


def _column(bands: Sequence[Band], low: int, high: int, n: int) -> str:
    """Return the character of a column: that of the bands in it, if these are of one kind."""
    ends = [low * (high / low) ** ((n + k) / _COLUMNS) for k in (0, 1)]
    kinds = {each.starts for each in bands if each.first <= ends[1] and ends[0] <= each.last}
    if len(kinds) != 1:
        return _UNKNOWN
    return _STARTS if kinds.pop() else _DIES


def draw_svg(thresholds: Sequence[Threshold]) -> str:
    """Return an SVG document with a row of bands for each guest and subject, on one axis.

    `thresholds` must not be empty.
    """
    rows = [(each, each.search.bands) for each in thresholds]
    low = min(bands[0].first for _, bands in rows)
    high = max(bands[-1].last for _, bands in rows)
    height = _TOP + _ROW * len(rows) + 30
    title = f"{thresholds[0].subject}: limits of {thresholds[0].kind} under which it starts"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="8" y="20">{escape(title)}</text>',
        *_axis(low, high, height),
    ]
    for n, (each, bands) in enumerate(rows):
        top = _TOP + n * _ROW
        parts.append(f'<text x="8" y="{top + 17}">{escape(each.guest)}</text>')
        parts += (_rectangle(band, low, high, top) for band in bands)
    parts.append(
        f'<text class="soft" x="8" y="{height - 8}">dark: starts, light: does not start, '
        "blank: not known</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _axis(low: int, high: int, height: int) -> Iterator[str]:
    """Yield a tick at the powers of two, at most about ten."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    for power in range(first, last + 1, max(1, (last - first) // 10)):
        x = _x(1 << power, low, high)
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="40" y2="{height - 26}"/>'
        yield f'<text class="soft" x="{x + 3:.1f}" y="38">{about(1 << power)}</text>'


def _rectangle(band: Band, low: int, high: int, top: int) -> str:
    left, right = _x(band.first, low, high), _x(band.last, low, high)
    kind = "starts" if band.starts else "dies"
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{max(right - left, 1.5):.1f}" '
        f'height="24"><title>{escape(str(band))}</title></rect>'
    )


def _x(size: int, low: int, high: int) -> float:
    share = math.log(size / low) / math.log(high / low) if high > low else 0.0
    return _LEFT + share * (_WIDTH - _LEFT - 20)
