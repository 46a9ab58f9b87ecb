"""Report of scenario runs as one HTML file that needs nothing else: no scripts, no fonts, nothing from elsewhere. It is made
from the output of `chaos run --json` alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from chaos.report.charts import Axis, Line, Span, bars, lines
from chaos.report.files import replace_text
from chaos.report.style import CSS
from replicator.ops.status.html import document, mark, said, table

Found = Mapping[str, Any]
_STATES = {True: ("well", "kept"), False: ("act", "broken"), None: ("watch", "not run")}
_OPEN = 3
"""Maximum number of runs that are all shown opened; of more, only those that were not kept are."""
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def write_report(file: Path, found: Sequence[Found]) -> None:
    """Write the page, as a whole or not at all."""
    replace_text(file, page(found))


def page(found: Sequence[Found]) -> str:
    """Return the page of these runs. All text that comes from elsewhere is escaped."""
    kept, broken, not_run = (sum(each["kept"] is state for each in found) for state in (True, False, None))
    events = sum(each.get("acknowledged_events", 0) for each in found)
    level = "act" if broken else "well" if kept else "watch"
    head = f"{kept} of {_count(len(found), 'run')} kept every promise" + "".join(
        f"; {number} {what}" for number, what in ((broken, "did not"), (not_run, "could not be run")) if number
    )
    few = len(found) <= _OPEN
    parts = [
        "<h1>Meridian · chaos</h1>",
        said(
            level, f"{_mark_of(level)} {head}", f"<li>{events:,} events were acknowledged while faults came and went.</li>"
        ),
        "" if len(found) == 1 else _overview(found),
        *(_run(each, number, few or each["kept"] is False) for number, each in enumerate(found)),
        "<footer>Written by <code>chaos run --html</code>; docs/chaos.md describes the checks.</footer>",
    ]
    return document(head, parts, CSS)


def _mark_of(level: str) -> str:
    """Return the status mark. Runs that did not run or were not checked have a sign of their own."""
    return mark(level, "–" if level == "watch" else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _state(found: Found) -> tuple[str, str]:
    level, word = _STATES[found["kept"]]
    return level, "failed" if "error" in found else word


def _overview(found: Sequence[Found]) -> str:
    rows = []
    for number, each in enumerate(found):
        level, word = _state(each)
        arrived = each.get("converge_seconds")
        rows.append(
            f'<tr class="{level}"><td>{_mark_of(level)} '
            f'<a href="#run-{number}">{escape(each["scenario"])}</a> <span class="quiet">{word}</span></td>'
            f'<td class="wide">{escape(each["title"])}</td><td class="number">{int(each["seed"])}</td>'
            f'<td class="number">{each.get("acknowledged_events", 0):,}</td>'
            f'<td class="number">{"–" if arrived is None else f"{arrived:.1f} s"}</td></tr>'
        )
    head = (
        '<th scope="col">Scenario</th><th scope="col" class="wide">What happens</th><th scope="col" class="number">Seed</th>'
        '<th scope="col" class="number">Events</th><th scope="col" class="number">Convergence</th>'
    )
    return f'<section class="card"><h2>Runs</h2>{table("list", head, "".join(rows))}</section>'


def _run(found: Found, number: int, is_open: bool) -> str:
    level, word = _state(found)
    title = f"{_mark_of(level)} {escape(found['scenario'])}, seed {int(found['seed'])}: {word}"
    said = (
        f"<p>{escape(found['title'])}.</p>"
        f'<p class="quiet">{escape(found.get("description", ""))}</p>'
        f'<code class="again">{escape(again(found))}</code>'
    )
    if found["kept"] is None:
        body = f'<div class="card">{said}<p>Not run: {escape(found["not_run"])}.</p></div>'
    elif "error" in found:
        body = f'<div class="card">{said}<p>It failed: {escape(found["error"])}</p></div>'
    else:
        why = "".join(f"<li>{escape(line)}</li>" for line in found.get("why_not", ()))
        said += f"<ul>{why}</ul>" if why else ""
        body = f'<div class="card">{said}{_figures(found)}{_pictures(found)}</div>{_timeline(found)}{_promises(found)}'
    return f'<details class="run" id="run-{number}"{" open" if is_open else ""}><summary>{title}</summary>{body}</details>'


def again(found: Found) -> str:
    """Return the command that runs it again."""
    endpoints = [f"--endpoint {shlex.quote(f'{region}={url}')}" for region, url in found.get("endpoints", {}).items()]
    return " ".join(["chaos run", shlex.quote(found.get("given", found["scenario"])), f"--seed {found['seed']}", *endpoints])


def _figures(found: Found) -> str:
    arrived = found["converge_seconds"]
    calls = found["calls"]
    refused, unknown = calls.get("fail", 0), calls.get("unknown", 0)
    figures = [
        (f"{found['acknowledged_events']:,}", "events acknowledged"),
        (_seconds(arrived), f"until all regions converged; {found['converge_within']:g} s allowed"),
        (f"{calls.get('ok', 0):,}", f"calls done; {refused:,} refused, {unknown:,} unknown to the end"),
        (f"{found['unknown_at_first']:,}", "calls whose answer was lost, and which were settled later"),
    ]
    if found["gone_events"]:
        figures.append((f"{found['gone_events']:,}", "events gone with a region that lost its data, each accounted for"))
    if (outage := found.get("outage")) is not None:
        figures += [
            (f"{outage['rpo_events']:,}", f"events that only {outage['region']} had when it was left: the RPO"),
            (_seconds(outage["rto_seconds"]), "until a client that moved wrote elsewhere: the RTO"),
            (_seconds(outage["failback_seconds"]), "from the end of the outage until all clients were home"),
        ]
    cells = "".join(f"<div><b>{value}</b><span>{escape(text)}</span></div>" for value, text in figures)
    return f'<div class="figures">{cells}</div>'


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


# -- charts --------------------------------------------------------------------------------------------------------------


def _pictures(found: Found) -> str:
    names = sorted(found["regions"])
    axis = _axis(found)
    series = found["series"]
    key = "".join(f'<span class="r{n}"><i></i>{escape(name)}</span>' for n, name in enumerate(names))
    signs = '<span class="shaded"><i></i>a fault</span><span class="moments"><i></i>last write; convergence</span>'
    rates = [Line(name, n, _rates(series["calls"].get(name, {}).get("events", {}), axis)) for n, name in enumerate(names)]
    behind = [
        lines(
            axis,
            f"Lag in {name}: events",
            "s",
            [Line(f"of {source}", n, _lags(series["lag"].get(name, {}), "events", source))
             for n, source in enumerate(names) if source != name],
        )
        for name in names
    ]  # fmt: skip
    views = [
        Line(name, n, _worst(series["lag"].get(name, {}), names)) for n, name in enumerate(names)
    ]  # fmt: skip
    return (
        f"<h3>Faults</h3>{bars(axis, 'faults')}"
        f'<div class="key">{key}{signs}</div>'
        f"{lines(axis, 'Acknowledged in each region', 'events/s', rates)}"
        f'<div class="grid2">{"".join(behind)}</div>'
        f"{lines(axis, 'Lag of views in each region: age of the oldest missing event', 's', views)}"
    )


def _axis(found: Found) -> Axis:
    last_write, arrived = found["load_seconds"], found["converge_seconds"]
    marks = {"the last write": last_write}
    if arrived is not None:
        marks["all regions converged"] = last_write + arrived
    names = dict(zip(_ORDINALS, found["regions"], strict=False))
    spans = [
        Span(
            describe(each["action"], each["arguments"], names),
            each["from"],
            each["until"] or last_write,
            row,
            each["struck"],
        )
        for row, each in enumerate(found["timeline"])
    ]
    looked = [lag["at"][0] for lag in found["series"]["lag"].values() if lag["at"]]
    ends = max([last_write + (arrived or 0.0), *(span.ends for span in spans)])
    return Axis(min([0.0, *looked]), ends + max(1.0, ends / 50), spans, marks)


def describe(action: str, arguments: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return an action in words, with the regions' own names."""
    if action == "fail":
        return "; ".join(_rule(rule, names) for rule in arguments["rules"])
    told = {key: names.get(value, value) if isinstance(value, str) else value for key, value in arguments.items()}
    words = [action, *(str(told.pop(key)) for key in ("worker", "region") if key in told)]
    if told.pop("both-ways", False):
        words.append("both ways")
    return " ".join([*words, *(f"{key} {value}" for key, value in told.items())])


def _rule(rule: Mapping[str, Any], names: Mapping[str, str]) -> str:
    effect = rule.get("meridian", {}).get("effect", "error")
    error = rule.get("error", {})
    what = effect if effect != "error" else f"{error.get('statusCode', 503)} {error.get('code', 'ServiceUnavailable')}"
    share = f" {rule['probability']:.0%}" if "probability" in rule else ""
    where = " ".join(str(rule[key]) for key in ("service", "operation") if key in rule)
    region = f" in {names.get(rule['region'], rule['region'])}" if "region" in rule else ""
    return f"{what}{share}: {where or 'everything'}{region}"


def _rates(counts: Mapping[str, int], axis: Axis) -> list[tuple[float, float | None]]:
    """Return a point in the middle of each whole second."""
    return [(second + 0.5, float(counts.get(str(second), 0))) for second in range(int(axis.begins), int(axis.ends))]


def _lags(lag: Found, what: str, source: str) -> list[tuple[float, float | None]]:
    values = zip(lag.get("at", []), lag.get("answered", []), lag.get(what, {}).get(source, []), strict=False)
    return [(at, _seen(value, answered)) for at, answered, value in values]


def _worst(lag: Found, sources: Sequence[str]) -> list[tuple[float, float | None]]:
    views = [lag["views"][source] for source in sources if source in lag.get("views", {})]
    looks = zip(lag.get("at", []), lag.get("answered", []), zip(*views, strict=True), strict=False)
    return [(at, _seen(max(values), answered)) for at, answered, values in looks]


def _seen(value: float, answered: bool) -> float | None:
    """Return the value, or None where the region could not be read and nothing was missing. Events that were missing before
    have only grown older."""
    return value if answered or value > 0 else None


# -- words ---------------------------------------------------------------------------------------------------------------


def _timeline(found: Found) -> str:
    names = dict(zip(_ORDINALS, found["regions"], strict=False))
    rows = "".join(_step(each, names) for each in found["timeline"])
    order = ", ".join(f"{ordinal} is {name}" for ordinal, name in names.items())
    head = '<th class="number">from</th><th class="number">until</th><th>Action and effect</th>'
    steps = table("list", head, rows) if rows else ""
    return f'<section class="card"><h2>Timeline</h2><p class="quiet">{escape(order)}.</p>{steps}</section>'


def _step(each: Found, names: Mapping[str, str]) -> str:
    until = "–" if each["until"] is None else f"{each['until']:.1f} s"
    missed = "" if each["struck"] else "<b>without effect</b> "
    said = f"<small>{missed}{escape(each['said'])}</small>" if missed or each["said"] else ""
    return (
        f'<tr class="{"well" if each["struck"] else "act"}"><td class="number">{each["from"]:.1f} s</td>'
        f'<td class="number">{until}</td><td>{escape(describe(each["action"], each["arguments"], names))}{said}</td></tr>'
    )


def _promises(found: Found) -> str:
    rows = "".join(_promise(name, each, found) for name, each in _worst_first(found))
    head = '<th>Promise</th><th class="number">Checked</th><th class="number">Broken</th>'
    return f'<section class="card"><h2>Promises</h2>{table("list", head, rows)}</section>'


def _worst_first(found: Found) -> Iterator[tuple[str, Found]]:
    promises = found["promises"]
    yield from sorted(promises.items(), key=lambda each: (not each[1]["broken"], each[0] not in found["not_looked_at"]))


def _promise(name: str, each: Found, found: Found) -> str:
    level = "act" if each["broken"] else "well" if each["looked"] else "watch"
    examples = "".join(f"<li>{escape(example)}</li>" for example in each["examples"])
    why = ""
    if not each["looked"] and not each["broken"]:
        expected = name in found["expected_untested"]
        why = " <b>Not checked</b>, as the scenario declares." if expected else " <b>There was nothing to check.</b>"
    evidence = f"<details open><summary>{_count(len(each['examples']), 'example')}</summary><ul>{examples}</ul></details>"
    return (
        f'<tr class="{level}"><td>{_mark_of(level)} {escape(each["promise"])}.{why} '
        f'<span class="quiet">{escape(name)}</span>'
        f"{evidence if examples else ''}</td>"
        f'<td class="number">{each["looked"]:,}</td><td class="number">{each["broken"]:,}</td></tr>'
    )
