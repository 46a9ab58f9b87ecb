"""Plot as one self-contained SVG file: panels above each other, over one logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from chaos.report.charts import DASHES, ceiling

_WIDTH, _LEFT, _RIGHT = 760.0, 74.0, 24.0
_PANEL, _GAP, _TOP, _BOTTOM = 190.0, 58.0, 72.0, 66.0
_LETTER = 6.6
"""Approximate width of a letter, in pixels."""
_NAMELESS = 3
"""Colour of a curve that its panel's title names."""
_STYLE = """
svg { font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff; } text { fill: #24292f; } .quiet { fill: #57606a; font-size: 12px; }
.title { font-size: 16px; font-weight: 600; } .grid { stroke: #d0d7de; } .frame { fill: none; stroke: #8c959f; }
.curve { fill: none; stroke-width: 2; }
.c0 { --c: #0072b2; } .c1 { --c: #c25100; } .c2 { --c: #00795a; } .c3 { --c: #a8447f; }
.curve, .key { stroke: var(--c); } .dot { fill: var(--c); }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; } .grid { stroke: #30363d; }
  .frame { stroke: #656c76; } .c0 { --c: #56b4e9; } .c1 { --c: #f08d49; } .c2 { --c: #2fc79a; } .c3 { --c: #e29ac6; }
}
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """Named line through (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves of one unit. `steep`: the axis of values is logarithmic, too."""

    title: str
    curves: Sequence[Curve]
    steep: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Plot with panels: `across` names the x axis; `ticks` are its labels. `even`: equal distances are equal differences."""

    name: str
    title: str
    across: str
    ticks: Sequence[float]
    panels: Sequence[Panel]
    even: bool = False

    def svg(self) -> str:
        height = _TOP + len(self.panels) * (_PANEL + _GAP) - _GAP + _BOTTOM
        drawn = [self._panel(panel, _TOP + _GAP / 2 + n * (_PANEL + _GAP)) for n, panel in enumerate(self.panels)]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height + _GAP / 2:.0f}" '
            f'role="img" aria-label="{escape(self._said())}"><style>{_STYLE}</style>'
            f'<rect class="ground" width="100%" height="100%"/><text class="title" x="{_LEFT}" y="26">{escape(self.title)}'
            f'</text>{self._keys()}{"".join(drawn)}<text class="quiet" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" '
            f'y="{height + _GAP / 2 - 14:.0f}" text-anchor="middle">{escape(self.across)}</text></svg>\n'
        )

    def _said(self) -> str:
        curves = [(panel, curve) for panel in self.panels for curve in panel.curves if curve.points]
        parts = [f"{c.name}, {p.title}: from {short(c.points[0][1])} to {short(c.points[-1][1])}" for p, c in curves]
        return f"{self.title}. {'; '.join(parts)}"

    def _x(self, value: float) -> float:
        low, high = min(self.ticks), max(self.ticks)
        share = (value - low) / (high - low) if self.even else math.log(value / low) / math.log(high / low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def _panel(self, panel: Panel, top: float) -> str:
        values = [y for curve in panel.curves for _, y in curve.points]
        marks = _decades(values) if panel.steep else [ceiling(max(values)) * part / 4 for part in range(5)]
        low, high = marks[0], marks[-1]

        def y(value: float) -> float:
            share = math.log(value / low) / math.log(high / low) if panel.steep else value / high
            return top + _PANEL * (1 - share)

        right, bottom = _WIDTH - _RIGHT, top + _PANEL
        parts = [f'<text x="{_LEFT}" y="{top - 10:.0f}">{escape(panel.title)}</text>']
        for mark in marks:
            at = y(mark)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text class="quiet" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{short(mark)}</text>')
        for tick in self.ticks:
            at = self._x(tick)
            parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
            parts.append(f'<text class="quiet" x="{at:.1f}" y="{bottom + 17:.0f}" text-anchor="middle">{short(tick)}</text>')
        parts.append(f'<rect class="frame" x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{_PANEL}"/>')
        parts += [self._curve(number, curve, y) for number, curve in enumerate(panel.curves)]
        return "".join(parts)

    def _curve(self, number: int, curve: Curve, y: Callable[[float], float]) -> str:
        found = [(self._x(at), y(value), value) for at, value in curve.points]
        number = number if curve.name else _NAMELESS
        line = " ".join(f"{at:.1f},{up:.1f}" for at, up, _ in found)
        dots = "".join(
            f'<circle class="dot c{number}" cx="{at:.1f}" cy="{up:.1f}" r="3.5"><title>{short(value)}</title></circle>'
            for at, up, value in found
        )
        return f'<polyline class="curve c{number}" points="{line}"{_dash(number)}/>{dots}'

    def _keys(self) -> str:
        """Return the names of the curves, each behind a piece of it, beneath the title."""
        at, parts = _LEFT, []
        for number, curve in enumerate(self.panels[0].curves):
            place = f'x1="{at:.0f}" x2="{at + 32:.0f}" y1="48" y2="48"'
            parts.append(f'<line class="key c{number}" stroke-width="2" {place}{_dash(number)}/>')
            parts.append(f'<text class="quiet" x="{at + 38:.0f}" y="52">{escape(curve.name)}</text>')
            at += 62 + _LETTER * len(curve.name)
        return "".join(parts)


def _dash(number: int) -> str:
    return f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""


def _decades(values: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """Return a number as it is written at an axis."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
