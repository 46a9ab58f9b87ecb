"""Status page: one self-contained HTML file without scripts, fonts or other external resources."""

from __future__ import annotations

from html import escape

from replicator.ops.status.html import SIGNS, document, mark, said, table
from replicator.ops.status.judgement import Concern, Judgement, Level, headline, level_of, worst
from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.status.picture import CLASSES, in_short, picture
from replicator.ops.status.words import ago, as_of, moment, number, plain, since, span


def page(status: Status) -> str:
    """Return the status as a page. All text from outside is escaped."""
    judged = Judgement(status)
    found = judged.all()
    level = worst(found)
    title = f"{SIGNS[CLASSES[level]]} {plain(status.prefix)}: {headline(status, found)}"
    runs = [run for run in status.runs if run.ended is None]
    read = as_of((region.read for region in status.regions), status.at)
    parts = [
        f"<h1>{_text(status.prefix)} · {_time(status.at)}</h1>",
        _said(status, found, level),
        f'<div class="top">{_picture(status, judged)}<div class="regions">',
        *(_region(region, judged, status.at) for region in status.regions),
        "</div></div>",
        f"<h2>Open runs</h2>{''.join(_run(run, status.at) for run in runs)}" if runs else "",
        _links(status, judged) if status.links else "",
        f"<footer>As of {_time(status.at)}{read}. Written by <code>replicator status</code>; "
        "it does not refresh itself.</footer>",
    ]
    return document(plain(title), parts)


def _text(text: str) -> str:
    return escape(plain(text))


def _time(at: int) -> str:
    shown = moment(at)
    return f'<time datetime="{escape(shown.replace(" ", "T"))}">{escape(shown)}</time>'


def _mark(level: Level) -> str:
    return mark(CLASSES[level])


def _said(status: Status, found: list[Concern], level: Level) -> str:
    items = "".join(
        f'<li class="{CLASSES[each.level]}">{_mark(each.level)}<b>{_text(each.where)}</b> {_text(each.text)}</li>'
        for each in found
    )
    return said(CLASSES[level], f"{_mark(level)}{_text(headline(status, found))}", items)


def _picture(status: Status, judged: Judgement) -> str:
    key = "".join(
        f'<span class="{kind}"><i></i>{words}</span>'
        for kind, words in (("well", "well"), ("watch", "to watch"), ("act", "to act on"), ("unknown", "not known"))
    )
    return f'<div class="picture">{picture(status, judged)}<div class="key">{key}</div></div>'


def _region(region: RegionStatus, judged: Judgement, now: int) -> str:
    level = level_of(judged.region(region))
    known = [
        number(value) if region.up else "?" for value in (region.epoch, region.lanes, region.events, region.quarantined)
    ]
    began = f'<span title="{escape(moment(region.since))}">{ago(region.since, now)}</span>' if region.since else "–"
    beat = escape(since(region.heartbeat_seconds)) if region.up else "?"
    short = in_short(region)
    rows = (
        *([("role", _text(region.role), "")] if region.up and short != plain(region.role) else []),
        ("since", began, ""),
        ("epoch", known[0], ""),
        ("lanes", known[1], ""),
        ("events", known[2], ""),
        ("quarantine", known[3], "act" if region.quarantined else ""),
        ("heartbeat", beat, "act" if region.heartbeat_overdue else ""),
    )
    listed = "".join(f"<dt>{name}</dt><dd{f' class={kind!r}' if kind else ''}>{value}</dd>" for name, value, kind in rows)
    why = f'<p class="why">{_text(region.why)}</p>' if plain(region.why) else ""
    return (
        f'<section class="region {CLASSES[level]}"><h3>{_text(region.region)}</h3>'
        f'<p class="role">{_mark(level)} {escape(short)}</p><dl>{listed}</dl>{why}</section>'
    )


def _links(status: Status, judged: Judgement) -> str:
    names = ("Link", "Events behind", "Lanes", "For", "Backlog", "Quarantine", "Heartbeat", "Last copied")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    order = sorted(status.links, key=lambda link: (-level_of(judged.link(link)), not judged.cut_off(link)))
    rows = "".join(_link(link, judged, status.at) for link in order)
    return f"<h2>Links</h2>{table('links', head, rows)}"


def _link(link: LinkStatus, judged: Judgement, now: int) -> str:
    level = level_of(judged.link(link))
    unknown = level is Level.WELL and link.behind_events is None
    sign = mark("unknown") if unknown else _mark(level)
    late = CLASSES[level] if level and link.behind_events else ""
    cells = (
        ("events behind", number(link.behind_events), late, False),
        ("lanes", number(link.behind_lanes), "", not link.behind_lanes),
        ("for", span(link.behind_seconds) if link.behind_events != 0 else "–", late, not link.behind_events),
        ("backlog", number(link.backlog), "watch" if link.backlog else "", not link.backlog),
        ("quarantine", number(link.quarantined), "act" if link.quarantined else "", not link.quarantined),
        (
            "heartbeat",
            since(link.heartbeat_seconds),
            CLASSES[level] if link.heartbeat_overdue else "",
            link.heartbeat_seconds is None,
        ),
        ("last copied", ago(link.last_copied, now), "", False),
    )
    row = "".join(
        f'<td data-name="{name}" class="{f"{kind} idle" if idle else kind}">{escape(value)}</td>'
        for name, value, kind, idle in cells
    )
    return f'<tr class="{CLASSES[level]}"><th scope="row">{sign}{_text(link.source)} → {_text(link.target)}</th>{row}</tr>'


def _run(run: RunStatus, now: int) -> str:
    step = plain(run.step) or "not known"
    return (
        f'<section class="run"><h3>{_text(run.kind)} <span class="quiet">{_text(run.run)}</span></h3>'
        f'<p class="role">! at step: {_text(step)}</p><p>{_text(run.text)}</p>'
        f'<p class="quiet">begun {ago(run.begun, now)}, {_time(run.begun)}</p></section>'
    )
