"""Status picture: the regions in a circle, and the links between them as arrows: the worse a link is, the thicker and
redder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from replicator.ops.status.judgement import Judgement, Level, level_of
from replicator.ops.status.model import LinkStatus, RegionStatus, Status
from replicator.ops.status.words import number, plain, span

CLASSES = {Level.WELL: "well", Level.WATCH: "watch", Level.ACT: "act"}
_WIDTH, _HEIGHT = 140.0, 48.0  # of a region
_MARGIN = 40.0
_BEND = 0.085
_GAP = 5.0
_LABELS = 4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Frame:
    width: float
    height: float
    places: dict[str, Point]


def picture(status: Status, judged: Judgement) -> str:
    """Return the picture as inline SVG."""
    frame = _frame([region.region for region in status.regions])
    links = [link for link in status.links if link.source in frame.places and link.target in frame.places]
    levels = {id(link): level_of(judged.link(link)) for link in links}
    worst_last = sorted(links, key=lambda link: (levels[id(link)], not judged.cut_off(link)))
    arrows = [_arrow(link, levels[id(link)], judged.cut_off(link), frame.places) for link in worst_last]
    labelled = [link for link in worst_last if levels[id(link)] and link.behind_events]
    labels = [_label(link, levels[id(link)], frame.places) for link in labelled] if len(labelled) <= _LABELS else []
    nodes = [_node(region, level_of(judged.region(region)), frame.places[region.region]) for region in status.regions]
    return (
        f'<svg viewBox="0 0 {frame.width:.0f} {frame.height:.0f}" role="img" aria-label="Regions and links">'
        f"{''.join(arrows)}{''.join(nodes)}{''.join(labels)}</svg>"
    )


def _frame(regions: list[str]) -> _Frame:
    """Place the regions on an ellipse, high enough that neighbours do not touch."""
    count = len(regions)
    across = _across(count)
    down = 0.0 if count <= 2 else 90.0 + 18.0 * count
    first = math.pi if count == 2 else -math.pi / 2
    angles = [first + 2 * math.pi * index / max(count, 1) for index in range(count)]
    above = min((down * math.sin(angle) for angle in angles), default=0.0)
    below = max((down * math.sin(angle) for angle in angles), default=0.0)
    width, top = max(2 * across + _WIDTH + 12, 360.0), _HEIGHT / 2 + (_MARGIN if count == 2 else 8.0) - above
    places = {
        name: (width / 2 + across * math.cos(angle), top + down * math.sin(angle))
        for name, angle in zip(regions, angles, strict=True)
    }
    # Links between the lowest two bend out of the circle.
    return _Frame(
        width, top + below + _HEIGHT / 2 + (8.0 if count == 1 or (count % 2 == 0 and count > 2) else _MARGIN), places
    )


def _across(count: int) -> float:
    """Return half the width of the ellipse: the lowest two of an odd number stand side by side, with room for their
    links."""
    if count == 1:
        return 0.0
    if count % 2 and count > 3:
        return 0.5 * (_WIDTH + 62.0) / math.sin(math.pi / count)
    return 138.0 if count <= 4 else max(175.0, (_WIDTH + 24.0) / math.sin(2 * math.pi / count) if count > 8 else 0.0)


def _curve(link: LinkStatus, places: dict[str, Point]) -> tuple[Point, Point, Point]:
    """Return a quadratic Bézier curve from region to region, bent to its own left: the opposite link runs beside it."""
    (x, y), (u, v) = places[link.source], places[link.target]
    return (x, y), ((x + u) / 2 + _BEND * 2 * (v - y), (y + v) / 2 - _BEND * 2 * (u - x)), (u, v)


def _at(curve: tuple[Point, Point, Point], t: float) -> Point:
    (x0, y0), (x1, y1), (x2, y2) = curve
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
    return a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2


def _edge(curve: tuple[Point, Point, Point], around: Point, steps: range, gap: float) -> float:
    """Return the first of these positions on the curve that lies outside the region's box."""
    for step in steps:
        x, y = _at(curve, step / 200)
        if abs(x - around[0]) > _WIDTH / 2 + gap or abs(y - around[1]) > _HEIGHT / 2 + gap:
            return step / 200
    return 0.5


def _thickness(link: LinkStatus, level: Level) -> float:
    """Return the width of an arrow: 1.6 for a link that is up to date, up to 7 for one that is a day late."""
    late = math.log10(1 + max(link.behind_seconds or 0.0, 0.0)) if link.behind_events else 0.0
    return min(1.6 + (0.9 * late if level else 0.4 * late) + (0.8 if level else 0.0), 7.0)


def _arrow(link: LinkStatus, level: Level, unknown: bool, places: dict[str, Point]) -> str:
    thickness = _thickness(link, level)
    head = 6.0 + 1.5 * thickness
    curve = _curve(link, places)
    start = _edge(curve, curve[0], range(201), _GAP)
    tip = _edge(curve, curve[2], range(200, -1, -1), _GAP)
    (x, y), (tx, ty) = _at(curve, start), _at(curve, tip)
    end = next((t / 200 for t in range(int(tip * 200), 0, -1) if math.dist(_at(curve, t / 200), (tx, ty)) > 0.7 * head), tip)
    ex, ey = _at(curve, end)
    middle = _control(curve, start, end)
    length = math.hypot(tx - ex, ty - ey) or 1.0
    ux, uy = (tx - ex) / length, (ty - ey) / length
    bx, by = tx - head * ux, ty - head * uy
    half = 0.42 * head
    points = f"{tx:.1f},{ty:.1f} {bx - half * uy:.1f},{by + half * ux:.1f} {bx + half * uy:.1f},{by - half * ux:.1f}"
    kind = "unknown" if unknown and level is Level.WELL else CLASSES[level]
    return (
        f'<g class="arrow {kind}"><title>{escape(_said(link))}</title>'
        f'<path d="M{x:.1f} {y:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {ex:.1f} {ey:.1f}" stroke-width="{thickness:.1f}"/>'
        f'<polygon points="{points}"/></g>'
    )


def _control(curve: tuple[Point, Point, Point], start: float, end: float) -> Point:
    """Return the control point of the part of the curve from `start` to `end` (de Casteljau)."""
    parts = []
    for axis in (0, 1):
        p0, p1, p2 = curve[0][axis], curve[1][axis], curve[2][axis]
        parts.append((1 - start) * ((1 - end) * p0 + end * p1) + start * ((1 - end) * p1 + end * p2))
    return parts[0], parts[1]


def _said(link: LinkStatus) -> str:
    return (
        f"{plain(link.source)} → {plain(link.target)}: {number(link.behind_events)} events behind, for "
        f"{span(link.behind_seconds)}, {number(link.backlog)} lanes on the backlog"
    )


def _label(link: LinkStatus, level: Level, places: dict[str, Point]) -> str:
    """Return the lag of the link as a label beside the middle of its arrow, on the outer side of its bend."""
    curve = _curve(link, places)
    (x, y), ((x0, y0), _, (x2, y2)) = _at(curve, 0.5), curve
    length = math.hypot(x2 - x0, y2 - y0) or 1.0
    out, over = (y2 - y0) / length, (x0 - x2) / length
    anchor = "middle" if abs(out) < 0.5 else "start" if out > 0 else "end"
    said = f"{number(link.behind_events)} · {span(link.behind_seconds)}"
    place = f'x="{x + 12 * out:.1f}" y="{y + 18 * over + 4:.1f}" text-anchor="{anchor}"'
    return f'<text class="label {CLASSES[level]}" {place}>{escape(said)}</text>'


def in_short(region: RegionStatus) -> str:
    """Return the most important fact of a region, for a place with room for few words."""
    if not region.up:
        return "does not answer"
    return f"{number(region.quarantined)} in quarantine" if region.quarantined else plain(region.role)


def _node(region: RegionStatus, level: Level, at: Point) -> str:
    x, y = at
    name = plain(region.region)
    squeeze = f' textLength="{_WIDTH - 12:.0f}" lengthAdjust="spacingAndGlyphs"' if len(name) > 16 else ""
    return (
        f'<g class="node {CLASSES[level]}"><rect x="{x - _WIDTH / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{_WIDTH:.0f}" '
        f'height="{_HEIGHT:.0f}" rx="9"/><text x="{x:.1f}" y="{y - 3:.1f}"{squeeze}>{escape(name)}</text>'
        f'<text class="under" x="{x:.1f}" y="{y + 15:.1f}">{escape(in_short(region))}</text></g>'
    )
