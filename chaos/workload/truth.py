"""Expected views, computed independently: by pandas, straight from the CSV.

Only `last_flight` cannot come from the CSV, since it depends on the last write; it comes from the clients' own record of the
acknowledged events and their timestamps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.checker.causes import Knowledge
from chaos.checker.history import Finals
from chaos.checker.verdict import Verdict
from chaos.workload.flights import Selection, data_file
from replicator.domain.canonical import same_json


@dataclass(frozen=True, slots=True)
class Truth:
    """Judge of every region's views of aircraft, by the promise `truth`."""

    selection: Selection

    def __call__(self, verdict: Verdict, known: Knowledge, finals: Finals) -> None:
        reports = {report.id: report for report in self.selection.reports}
        kept = [(reports.pop(event.id), event) for _, event in known.acknowledged.values() if event.id in reports]
        written = [(r.stream.id, e.hlc, e.region, e.sequence, str(r.event.payload["flight"])) for r, e in kept]
        gone = {(report.row, report.event.type) for report in reports.values()}
        truth = expected_views(data_file(), self.selection.first, self.selection.last, written, gone)
        for region, final in finals.items():
            verdict.look("truth", len(truth))
            for why in differing({stream.partition("/")[2]: view.value for stream, view in final.views.items()}, truth):
                verdict.breach("truth", f"{region}: {why}")


def differing(values: Mapping[str, Any], truth: Mapping[str, Any]) -> Iterator[str]:
    """Yield each difference from the data set, in either direction."""
    for name in sorted({*truth, *values}):
        if not same_json(values.get(name), truth.get(name)):
            yield f"{name} is {values.get(name)}, the data set gives {truth.get(name)}"


def expected_views(
    data: Path,
    first: int,
    last: int,
    acknowledged: Iterable[tuple[str, str, str, int, str]],
    gone: Collection[tuple[int, str]] = (),
) -> dict[str, dict[str, Any]]:
    """Return the expected views, tail number -> the view's value, for rows `first` to `last` of the CSV.

    `acknowledged` holds (tail number, HLC text, region, sequence, flight) of every acknowledged event that survived; `gone`
    the reports without one, as (row, type): the truth is what the rest comes to.
    """
    import pandas as pd  # here: commands that judge no flights start twice as fast without

    dropped = {kind: {row for row, each in gone if each == kind} for kind in ("departed", "arrived", "cancelled")}
    table = pd.read_csv(data).iloc[first : last + 1]
    table = table[table["tailnum"].notna()].copy()
    table["row"] = table.index
    table["code"] = table["carrier"] + table["flight"].astype(str)
    flown = table[table["dep_time"].notna()].copy()
    day = pd.to_datetime(flown[["year", "month", "day"]])
    flown["departed"] = day + _clock(flown["dep_time"])
    landed = flown[flown["arr_time"].notna() & ~flown["row"].isin(dropped["arrived"])].copy()
    landed["arrived"] = day.loc[landed.index] + _clock(landed["arr_time"])
    landed.loc[landed["arrived"] < landed["departed"], "arrived"] += pd.Timedelta(days=1)
    flown = flown[~flown["row"].isin(dropped["departed"])]

    legs = pd.concat(
        [
            flown[["tailnum", "row", "origin", "departed"]]
            .set_axis(["tail", "row", "airport", "time"], axis=1)
            .assign(leg=0),
            landed[["tailnum", "row", "dest", "arrived"]].set_axis(["tail", "row", "airport", "time"], axis=1).assign(leg=1),
        ]
    )
    place = legs.sort_values(["time", "row", "leg"]).groupby("tail")["airport"].last()
    airports = legs.groupby("tail")["airport"].agg(lambda names: sorted(set(names)))
    flights = flown.groupby("tailnum").size()
    cancelled = table[table["dep_time"].isna() & ~table["row"].isin(dropped["cancelled"])].groupby("tailnum").size()
    lost = landed.groupby("tailnum")["arr_delay"].sum()
    up = flown[~flown["row"].isin(landed["row"])].assign(name=lambda t: t["code"] + "@" + t["row"].astype(str))
    in_air = up.groupby("tailnum")["name"].agg(sorted)
    log = pd.DataFrame(acknowledged, columns=["tail", "hlc", "region", "sequence", "flight"])
    last_flight = log.sort_values(["hlc", "region", "sequence"]).groupby("tail")["flight"].last()

    return {
        tail: {
            "place": place.get(tail),
            "last_flight": last_flight.get(tail),
            "flights": int(flights.get(tail, 0)),
            "cancelled": int(cancelled.get(tail, 0)),
            "minutes_lost": int(lost.get(tail, 0)),
            "airports": list(airports.get(tail, [])),
            "in_air": list(in_air.get(tail, [])),
        }
        for tail in sorted({*legs["tail"], *cancelled.index})
    }


def expected_rows(data: Path, first: int, last: int) -> dict[str, dict[str, Any]]:
    """Return the expected rows of the departures by airport, and by airport and hour of the day: row -> value."""
    import pandas as pd

    table = pd.read_csv(data).iloc[first : last + 1]
    flown = table[table["tailnum"].notna() & table["dep_time"].notna()].copy()
    flown["row"] = flown.index
    flown["departed"] = pd.to_datetime(flown[["year", "month", "day"]]) + _clock(flown["dep_time"])
    flown["code"] = flown["carrier"] + flown["flight"].astype(str)
    flown["hour"] = flown["origin"] + "/" + flown["departed"].dt.strftime("%H") + "h"
    found: dict[str, dict[str, Any]] = {}
    for column in ("origin", "hour"):
        for name, group in flown.sort_values(["departed", "row"]).groupby(column):
            found[str(name)] = {"flights": len(group), "last": str(group["code"].iloc[-1])}
    return found


def _clock(hhmm: Any) -> Any:
    import pandas as pd

    return pd.to_timedelta(hhmm // 100, unit="h") + pd.to_timedelta(hhmm % 100, unit="m")
