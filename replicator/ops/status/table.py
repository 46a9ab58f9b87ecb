"""Status view in a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from replicator.ops.status.judgement import Concern, Judgement, Level, headline, level_of, worst
from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.status.words import ago, as_of, moment, number, plain, since, span

_STYLES = {Level.WELL: "green", Level.WATCH: "yellow", Level.ACT: "bold red"}
_MARKS = {Level.WELL: "✓", Level.WATCH: "!", Level.ACT: "✗"}
_LISTED = 8


def show(status: Status, console: Console) -> RenderableType:
    """Return the status as tables of regions, links and open runs, beneath the problems. Prints nothing: `--watch` puts the
    result into `rich.live.Live`. Without colours the marks ✓ ! ✗ carry the same information."""
    judged = Judgement(status)
    parts: list[RenderableType] = [_headline(status, judged.all()), Text(), _regions(status, judged)]
    if status.links:
        parts += [Text(), _links(status, judged)]
    if runs := [run for run in status.runs if run.ended is None]:
        parts += [Text(), _runs(runs, status.at)]
    return Group(*parts)


def _headline(status: Status, found: list[Concern]) -> RenderableType:
    level = worst(found)
    first = Text.assemble(
        (f"{_MARKS[level]} {headline(status, found)}", _STYLES[level]),
        (f"   {plain(status.prefix)}, {moment(status.at)}{_as_of(status)}", "dim"),
    )
    rest = Table.grid(padding=(0, 1, 0, 0))
    for concern in found[:_LISTED]:
        style = _STYLES[concern.level]
        said = Text(f"{plain(concern.where)} {plain(concern.text)}", style)
        rest.add_row(Text(f"  {_MARKS[concern.level]}", style), said)
    if len(found) > _LISTED:
        rest.add_row(Text("  …"), Text(f"and {len(found) - _LISTED} more, marked below", "dim"))
    return Group(first, rest) if found else first


def _as_of(status: Status) -> str:
    return as_of((region.read for region in status.regions), status.at)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for name, justify in columns:
        table.add_column(
            name, justify="right" if justify == "right" else "left", overflow="fold", no_wrap=justify == "whole"
        )
    return table


def _regions(status: Status, judged: Judgement) -> Table:
    table = _table(
        ("", "whole"), ("region", "whole"), ("role", "whole"), ("epoch", "right"), ("since", "right"), ("lanes", "right"),
        ("events", "right"), ("quarantine", "right"), ("heartbeat", "right"), ("why", "left"),
    )  # fmt: skip
    for region in status.regions:
        table.add_row(*_region(region, level_of(judged.region(region)), status.at))
    return table


def _region(region: RegionStatus, level: Level, now: int) -> list[Text]:
    style = _STYLES[level]
    known = [number(value) if region.up else "?" for value in (region.epoch, region.lanes, region.events)]
    return [
        Text(_MARKS[level], style),
        Text(region.region, style if level else ""),
        Text(plain(region.role) if region.up else "does not answer", "" if region.up and not level else style),
        Text(known[0]),
        Text(ago(region.since, now)),
        Text(known[1]),
        Text(known[2]),
        Text(number(region.quarantined) if region.up else "?", _STYLES[Level.ACT] if region.quarantined else ""),
        Text(since(region.heartbeat_seconds) if region.up else "?", _STYLES[Level.ACT] if region.heartbeat_overdue else ""),
        Text(plain(region.why), "dim"),
    ]


def _links(status: Status, judged: Judgement) -> Table:
    table = _table(
        ("", "whole"), ("link", "whole"), ("events behind", "right"), ("lanes", "right"), ("for", "right"),
        ("backlog", "right"), ("quarantine", "right"), ("heartbeat", "right"), ("last copied", "right"),
    )  # fmt: skip
    for link in status.links:
        table.add_row(*_link(link, level_of(judged.link(link)), status.at))
    return table


def _link(link: LinkStatus, level: Level, now: int) -> list[Text]:
    mark, style = _MARKS[level], _STYLES[level]
    if level is Level.WELL and link.behind_events is None:
        mark, style = "?", "dim"
    late = style if level else ""
    return [
        Text(mark, style),
        Text(f"{link.source} → {link.target}", late),
        Text(number(link.behind_events), late if link.behind_events else ""),
        Text(number(link.behind_lanes)),
        Text(span(link.behind_seconds) if link.behind_events != 0 else "–", late if link.behind_events else ""),
        Text(number(link.backlog), _STYLES[Level.WATCH] if link.backlog else ""),
        Text(number(link.quarantined), _STYLES[Level.ACT] if link.quarantined else ""),
        Text(since(link.heartbeat_seconds), late if link.heartbeat_overdue else ""),
        Text(ago(link.last_copied, now)),
    ]


def _runs(runs: list[RunStatus], now: int) -> Table:
    table = _table(("", "whole"), ("open run", "left"), ("kind", "whole"), ("begun", "right"), ("at", "left"), ("", "left"))
    style = _STYLES[Level.WATCH]
    for run in runs:
        table.add_row(
            Text(_MARKS[Level.WATCH], style),
            Text(plain(run.run), style),
            Text(plain(run.kind)),
            Text(ago(run.begun, now)),
            Text(plain(run.step) or "?", style),
            Text(plain(run.text), "dim"),
        )
    return table
