"""Values that things must have, computed from their events and from what their writers had seen. No CRDT code is used.

Counters follow Maelstrom's rule: what was acknowledged and any part of what is unknown. They must also be exactly the sum of
the stored events. Members and names must be legal: a writer that removes or overwrites must have seen what it removes or
overwrites.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from chaos.checker.causes import Knowledge, by_lane, vector_of, whole
from chaos.checker.history import Finals, Kept, Outcome, Vector
from chaos.checker.verdict import Verdict

_NOTHING: Mapping[str, Any] = {"count": 0, "members": [], "called": None}
_FIELDS = {"added": ("n", "counters"), "joined": ("who", "sets"), "left": ("who", "sets"), "named": ("to", "registers")}
"""Field of each event type, and the promise that is judged by it."""
_MOST_UNKNOWN = 20_000


def explain(known: Knowledge, stream: str, vector: Vector, value: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield what is impossible in a thing's value, each as the name of a promise and the reason."""
    found = _NOTHING if value is None else value
    if not isinstance(found, Mapping) or found.keys() != _NOTHING.keys():
        for promise in ("counters", "sets", "registers"):
            yield promise, f"its value is {value!r}; it must have the keys {', '.join(_NOTHING)}"
        return
    held = list(known.within(stream, vector))
    for kept in held:
        if kept.type in _FIELDS and not _fits(kept):
            yield _FIELDS[kept.type][1], f"{kept.lane} {kept.sequence} ({kept.type}) has the wrong payload {kept.payload!r}"
    held = [kept for kept in held if kept.type in _FIELDS and _fits(kept)]
    total = sum(kept.fields["n"] for kept in held if kept.type == "added")
    if not whole(found["count"]) or found["count"] != total:
        yield "counters", f"the count is {found['count']!r}, the sum of its events is {total}"
    yield from (("sets", why) for why in _members_wrong(found["members"], *_members(known, held)))
    names = _names(known, held)
    called = found["called"]
    if not (called is None or isinstance(called, str)) or called not in names:
        yield "registers", f"its name is {called!r}; possible names are {sorted(map(str, names))}"


def _fits(kept: Kept) -> bool:
    """Return whether the event of a thing has the field of its type."""
    said = kept.fields.get(_FIELDS[kept.type][0])
    return whole(said) if kept.type == "added" else isinstance(said, str)


def _members_wrong(members: object, sure: set[str], legal: set[str]) -> Iterator[str]:
    if not isinstance(members, list) or not all(isinstance(each, str) for each in members):
        yield f"its members are {members!r}, which is not a list of names"
        return
    for who, times in sorted(Counter(members).items()):
        if times > 1:
            yield f"{who} is listed {times} times"
    for who in sorted((sure - set(members)) | (set(members) - legal)):
        yield f"{who} is {'listed, but was' if who in members else 'missing, but was not'} removed by a writer that saw it"


def _members(known: Knowledge, held: list[Kept]) -> tuple[set[str], set[str]]:
    """Return the members whose joining was not seen by any writer that removed them: those that are certain, and those that
    are possible."""
    joined, left = _by_payload(held, "joined"), _by_payload(held, "left")
    sure, legal = set(), set()
    for who, events in joined.items():
        seen = [[known.had_seen(leave, join) for leave in left.get(who, ())] for join in events]
        if any(all(each is False for each in by) for by in seen):
            sure.add(who)
        if any(not any(by) for by in seen):
            legal.add(who)
    return sure, legal


def _by_payload(held: list[Kept], kind: str) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = {}
    for kept in held:
        if kept.type == kind:
            found.setdefault(kept.fields["who"], []).append(kept)
    return found


def _names(known: Knowledge, held: list[Kept]) -> set[str | None]:
    """Return the names that no writer who had seen them overwrote."""
    given = [kept for kept in held if kept.type == "named"]
    if not given:
        return {None}
    last = [max(events, key=lambda kept: kept.sequence) for events in by_lane(given).values()]
    return {
        kept.fields["to"] for kept in last if not any(known.had_seen(other, kept) for other in last if other is not kept)
    }


def check_things(verdict: Verdict, known: Knowledge, finals: Finals) -> None:
    """Judge the values of every region's views of things."""
    sums = _sums(known)
    for region, final in finals.items():
        for stream, view in sorted(final.views.items()):
            vector = vector_of(view.vector)
            if not vector:
                continue
            verdict.look("counters")
            verdict.look("sets")
            verdict.look("registers")
            for promise, why in explain(known, stream, vector, view.value):
                verdict.breach(promise, f"{region}: {stream}: {why}")
            count = view.value.get("count") if isinstance(view.value, Mapping) else None
            if isinstance(count, int) and (refused := sums.refuse(stream, count)) is not None:
                verdict.breach("counters", f"{region}: {stream}: {refused}")


class _Sums:
    """Maelstrom's rule for counters: the sums that the clients' calls alone allow."""

    def __init__(self, sure: Mapping[str, int], unsure: Mapping[str, list[int]]) -> None:
        self._sure, self._unsure = sure, unsure
        self._allowed: dict[str, set[int]] = {}

    def refuse(self, stream: str, count: int) -> str | None:
        """Return why a count is impossible; None if it is possible."""
        if stream not in self._allowed:
            sums = {self._sure.get(stream, 0)}
            for n in self._unsure.get(stream, ()):
                if len(sums) > _MOST_UNKNOWN:  # then any count is taken as possible; its events still determine it
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
    for change in known.changes.values():
        if change.type != "added":
            continue
        n = int(change.payload["n"])
        if change.call.outcome is Outcome.OK and change.payload["id"] not in known.gone_ids:
            sure[change.stream] = sure.get(change.stream, 0) + n
        elif change.call.outcome is Outcome.UNKNOWN:
            unsure.setdefault(change.stream, []).append(n)
    return _Sums(sure, unsure)
