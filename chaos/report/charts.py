"""Charts over the seconds of a timeline, as HTML and SVG. Curves are stretched to the page's width and words are not, so
that both can be read on a phone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

HEIGHT = 1000
"""Inner height of a plot, in its own units; one unit of its inner width is a hundredth of a second."""
DASHES = ("", "14 7", "4 5", "14 5 3 5", "2 9", "22 6")
"""Dash patterns: regions differ by dash as well as by colour."""
Points = Sequence[tuple[float, float | None]]
"""(seconds, value), or None where the region could not be read."""


@dataclass(frozen=True, slots=True)
class Span:
    """Fault on the timeline, from and until seconds. `row` is where its bar is drawn."""

    name: str
    begins: float
    ends: float
    row: int
    struck: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """Curve of a region. `region` is its index among the regions: colour and dash."""

    name: str
    region: int
    points: Points


@dataclass(frozen=True, slots=True)
class Axis:
    """Time axis in seconds, shared by all charts of a run. `marks` are moments with a name."""

    begins: float
    ends: float
    spans: Sequence[Span]
    marks: Mapping[str, float]

    def share(self, at: float) -> float:
        """Return the position of a second: 0 at the left edge, 1 at the right."""
        return min(1.0, max(0.0, (at - self.begins) / (self.ends - self.begins)))

    @property
    def width(self) -> int:
        return max(1, round((self.ends - self.begins) * 100))


def bars(axis: Axis, title: str) -> str:
    """Return the faults as HTML, a bar each, one below the other."""
    rows = max((span.row for span in axis.spans), default=-1) + 1
    found = []
    for span in axis.spans:
        left, right = axis.share(span.begins), axis.share(span.ends)
        late = left > 0.55  # its name stands where there is room
        place = f"right:{(1 - left) * 100:.2f}%" if late else f"left:{left * 100:.2f}%"
        when = f"{span.begins:.1f}–{span.ends:.1f} s" if span.ends > span.begins else f"{span.begins:.1f} s"
        found.append(
            f'<div class="fault{"" if span.struck else " missed"}" style="top:{span.row * 40}px">'
            f'<i style="left:{left * 100:.2f}%;width:{max(0.0, right - left) * 100:.2f}%"></i>'
            f'<span style="{place}" title="{escape(span.name)}">{escape(span.name)} <small>{when}</small></span></div>'
        )
    label = f"{title}: " + "; ".join(f"{span.name} from {span.begins:.1f} to {span.ends:.1f} s" for span in axis.spans)
    return (
        f'<div class="faults" role="img" aria-label="{escape(label)}" style="height:{max(1, rows) * 40}px">'
        f"{''.join(found) or '<p class=quiet>no faults</p>'}{_moments(axis)}</div>"
    )


def lines(axis: Axis, title: str, unit: str, curves: Sequence[Line], least: float = 1.0) -> str:
    """Return the curves over the shaded faults. The value axis goes from 0 to a round number, `least` at least."""
    top = ceiling(max([least, *(value for curve in curves for _, value in curve.points if value is not None)]))
    shades = "".join(
        f'<rect class="shade" x="{axis.share(span.begins) * axis.width:.0f}" y="0" '
        f'width="{max(axis.width / 400, (axis.share(span.ends) - axis.share(span.begins)) * axis.width):.0f}" '
        f'height="{HEIGHT}"/>'
        for span in axis.spans
    )
    grid = "".join(
        f'<line class="grid" x1="0" x2="{axis.width}" y1="{HEIGHT * (1 - part)}" y2="{HEIGHT * (1 - part)}"/>'
        for part in (0, 0.5, 1)
    )
    drawn = "".join(_curve(axis, curve, top) for curve in curves)
    said = "; ".join(f"{curve.name} {_most(curve.points, unit)}" for curve in curves)
    scale = "".join(f'<span style="bottom:{part * 100:g}%">{_short(top * part)}</span>' for part in (0, 0.5, 1))
    return (
        f'<figure><figcaption>{escape(title)} <small class="quiet">{escape(unit)}</small></figcaption>'
        f'<div class="plot" role="img" aria-label="{escape(f"{title}: {said}")}">'
        f'<svg viewBox="0 0 {axis.width} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{shades}{grid}{drawn}</svg>'
        f'<div class="scale">{scale}</div>{_moments(axis)}</div>{_seconds(axis)}</figure>'
    )


def _curve(axis: Axis, curve: Line, top: float) -> str:
    pieces: list[list[str]] = [[]]
    for at, value in curve.points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{axis.share(at) * axis.width:.0f},{HEIGHT * (1 - min(1.0, value / top)):.0f}")
    dash = f' stroke-dasharray="{DASHES[curve.region % len(DASHES)]}"' if DASHES[curve.region % len(DASHES)] else ""
    return "".join(
        f'<polyline class="curve r{curve.region}" points="{" ".join(piece if len(piece) > 1 else piece * 2)}"{dash}>'
        f"<title>{escape(curve.name)}</title></polyline>"
        for piece in pieces
        if piece
    )


def _moments(axis: Axis) -> str:
    return "".join(
        f'<b class="moment" style="left:{axis.share(at) * 100:.2f}%" title="{escape(name)}: {at:.1f} s"></b>'
        for name, at in axis.marks.items()
    )


def _seconds(axis: Axis) -> str:
    step = next(
        step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 86_400) if axis.width / 100 / step <= 8
    )
    first = math.ceil(axis.begins / step) * step
    ticks = range(first, math.floor(axis.ends) + 1, step)
    return '<div class="seconds" aria-hidden="true">' + "".join(
        f'<span style="left:{axis.share(at) * 100:.2f}%">{at}{" s" if at == ticks[-1] else ""}</span>' for at in ticks
    ) + "</div>"  # fmt: skip


def ceiling(value: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50 … that is at least `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= value * (1 - 1e-9))


def _most(points: Points, unit: str) -> str:
    seen = [value for _, value in points if value is not None]
    return f"at most {_short(max(seen))} {unit}" if seen else "never readable"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
