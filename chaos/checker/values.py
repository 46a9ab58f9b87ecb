"""Values: what things must come to, told from their events and from what their writers had seen; no CRDT is asked.

Counters by Maelstrom's rule: what was acknowledged and any part of what is unknown; and exactly what the events at hand
come to. Members and names by what is legal: whoever removes or overwrites must have seen what they remove or overwrite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chaos.checker.causes import Knowledge, by_lane
from chaos.checker.history import Finals, Kept, Outcome, Vector
from chaos.checker.verdict import Verdict

_TYPE = "thing/"
_NOTHING: Mapping[str, Any] = {"count": 0, "members": [], "called": None}
_MOST_UNKNOWN = 20_000


def explain(known: Knowledge, stream: str, vector: Vector, value: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """What of a thing's value cannot be: a promise's name and why, for each."""
    found = {**_NOTHING, **(value or {})}
    held = list(known.within(stream, vector))
    total = sum(int(kept.payload["n"]) for kept in held if kept.type == "added")
    if found["count"] != total:
        yield "counters", f"the count is {found['count']}, its events come to {total}"
    members = {str(each) for each in found["members"]}
    legal = _members(known, held)
    for who in sorted(members ^ legal):
        yield (
            "sets",
            f"{who} is {'there, but was' if who in members else 'not there, and was not'} removed by anyone who knew",
        )
    names = _names(known, held)
    if found["called"] not in names:
        yield "registers", f"it is called {found['called']!r}, and can only be one of {sorted(map(str, names))}"


def _members(known: Knowledge, held: list[Kept]) -> set[str]:
    """Who joined in an event that nobody who left them had seen."""
    joined, left = _by_payload(held, "joined"), _by_payload(held, "left")
    return {
        who for who, events in joined.items()
        if any(not any(known.had_seen(leave, join) for leave in left.get(who, ())) for join in events)
    }  # fmt: skip


def _by_payload(held: list[Kept], kind: str) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = {}
    for kept in held:
        if kept.type == kind:
            found.setdefault(str(kept.payload["who"]), []).append(kept)
    return found


def _names(known: Knowledge, held: list[Kept]) -> set[str | None]:
    """The names that nobody overwrote who had seen them."""
    given = [kept for kept in held if kept.type == "named"]
    if not given:
        return {None}
    last = [max(events, key=lambda kept: kept.sequence) for events in by_lane(given).values()]
    return {
        str(kept.payload["to"])
        for kept in last
        if not any(known.had_seen(other, kept) for other in last if other is not kept)
    }


def check_values(verdict: Verdict, known: Knowledge, finals: Finals) -> None:
    """Judge every region's views of things."""
    reference: tuple[str, dict[str, Any]] | None = None
    sums = _sums(known)
    for region, final in finals.items():
        heads = _heads(final.events)
        for stream in sorted(heads.keys() | final.views.keys()):
            view = final.views.get(stream)
            verdict.look("views_complete")
            if view is None or dict(view.vector) != heads.get(stream):
                at = dict(view.vector) if view is not None else "nothing"
                verdict.breach(
                    "views_complete", f"{region}: the view of {stream} is at {at}, its events at {heads.get(stream)}"
                )
                continue
            verdict.look("counters")
            verdict.look("sets")
            verdict.look("registers")
            for promise, why in explain(known, stream, view.vector, view.value):
                verdict.breach(promise, f"{region}: {stream}: {why}")
            if (refused := sums.refuse(stream, int(view.value.get("count", 0)))) is not None:
                verdict.breach("counters", f"{region}: {stream}: {refused}")
        bodies = {stream: view.body for stream, view in final.views.items()}
        if reference is None:
            reference = (region, bodies)
            continue
        verdict.look("views_identical", len(bodies))
        for stream in sorted(bodies.keys() | reference[1].keys()):
            if bodies.get(stream) != reference[1].get(stream):
                verdict.breach("views_identical", f"the view of {stream} differs between {reference[0]} and {region}")


def _heads(events: list[Kept]) -> dict[str, dict[str, int]]:
    heads: dict[str, dict[str, int]] = {}
    for kept in events:
        if kept.stream.startswith(_TYPE):
            head = heads.setdefault(kept.stream, {})
            head[kept.region] = max(head.get(kept.region, 0), kept.sequence)
    return heads


class _Sums:
    """Maelstrom's rule for counters: the sums that the clients' calls alone allow."""

    def __init__(self, sure: Mapping[str, int], unsure: Mapping[str, list[int]]) -> None:
        self._sure, self._unsure = sure, unsure
        self._allowed: dict[str, set[int]] = {}

    def refuse(self, stream: str, count: int) -> str | None:
        """Why a count cannot be, if it cannot."""
        if stream not in self._allowed:
            sums = {self._sure.get(stream, 0)}
            for n in self._unsure.get(stream, ()):
                if len(sums) > _MOST_UNKNOWN:  # then any is taken for possible; its events say what it is
                    return None
                sums |= {each + n for each in sums}
            self._allowed[stream] = sums
        if count in self._allowed[stream]:
            return None
        sure, unsure = self._sure.get(stream, 0), self._unsure.get(stream, [])
        return f"the count is {count}; {sure} was acknowledged, and {unsure} is unknown"


def _sums(known: Knowledge) -> _Sums:
    sure: dict[str, int] = {}
    unsure: dict[str, list[int]] = {}
    surviving = {event.id for _, event in known.acknowledged.values()}
    for change in known.changes.values():
        if change.type != "added":
            continue
        n = int(change.payload["n"])
        if change.call.outcome is Outcome.OK and change.payload["id"] in surviving:
            sure[change.stream] = sure.get(change.stream, 0) + n
        elif change.call.outcome is Outcome.UNKNOWN:
            unsure.setdefault(change.stream, []).append(n)
    return _Sums(sure, unsure)
