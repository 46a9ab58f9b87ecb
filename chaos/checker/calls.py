"""Checks that requests, acknowledgements and stored events agree, change by change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from chaos.checker.causes import Knowledge, lane_of, vector_of
from chaos.checker.history import Call, Final, Finals, History, Kept, Outcome, Written
from chaos.checker.verdict import Verdict

OPTIMISTIC = "optimistic claim"
CLAIMS = {"claim": "meridian.claimed", "release": "meridian.released", OPTIMISTIC: "meridian.claimed"}
"""Calls that claim, with the type of the event of each."""


def check_asked(verdict: Verdict, known: Knowledge, history: History, finals: Finals) -> None:
    """Judge the acknowledgements of calls by their requests, and the stored events by both."""
    there = {kept.digest for final in finals.values() for kept in final.events}
    for call in history.calls:
        done = call.outcome is Outcome.OK or any(event.digest in there for event in call.events)
        if done and isinstance(call.value, list):
            _told(verdict, call)
        if call.denied and call.events and call.region not in history.lost_regions:
            verdict.breach("torn", f"call {call.number} was acknowledged with only some of its events")
    _check_copies(verdict, history)
    verdict.look("acknowledged_twice", len(known.acknowledged))
    for call, event, before in known.again:
        verdict.breach(
            "acknowledged_twice",
            f"{event.lane} {event.sequence} was acknowledged to call {call.number}, and to call {before.number} before",
        )
    judged: dict[int, list[str]] = {}  # by identity: regions that hold the same event may share it
    for region, final in finals.items():
        _stored(verdict, known, region, final, judged)


def _check_copies(verdict: Verdict, history: History) -> None:
    """Check that no event is gone whose acknowledgement named a region that did not lose its data."""
    for call in history.calls:
        if call.outcome is not Outcome.OK:
            continue
        verdict.look("copies", len(call.events))
        safe = set(call.regions) - history.lost_regions
        for event in call.events if safe else ():
            if event.digest in history.gone:
                named = f"call {call.number} was acknowledged as held by {', '.join(sorted(safe))}"
                verdict.breach("copies", f"{event.lane} {event.sequence} is gone, and {named}")


def _told(verdict: Verdict, call: Call) -> None:
    """Check that a write was acknowledged with one event for each change that it requested, in its own region and in the
    order of the request."""
    asked = Counter(str(each["id"]) for each in call.value) - Counter(event.id for event in call.denied)
    told = Counter(event.id for event in call.events)
    missing = asked - told
    for change in missing:
        verdict.breach("lost", f"call {call.number} requested {change} and was acknowledged without an event for it")
    if missing and told:
        requested = f"call {call.number} requested {len(call.value)} changes"
        verdict.breach("torn", f"{requested} and was acknowledged with {told.total()} events")
    for change in told - asked:
        if change in asked:
            verdict.breach(
                "duplicated", f"call {call.number} requested {change} once and was acknowledged with it {told[change]} times"
            )
        else:
            verdict.breach("from_nowhere", f"call {call.number} was acknowledged with {change}, which it did not request")
    places = {event.id: event for event in call.events}
    last: dict[str, int] = {}
    for each in call.value:
        event = places.get(str(each["id"]))
        if event is None:
            continue
        if event.lane != (lane := lane_of(call.region, each["stream"])):
            verdict.breach(
                "changed", f"call {call.number} requested {event.id} in {lane} and was acknowledged in {event.lane}"
            )
        if event.sequence <= last.get(event.lane, 0):
            verdict.breach(
                "lane_order", f"call {call.number} requested {event.id} after an event that follows it in {event.lane}"
            )
        last[event.lane] = event.sequence


def _stored(verdict: Verdict, known: Knowledge, region: str, final: Final, judged: dict[int, list[str]]) -> None:
    for kept in final.events:
        told = known.acknowledged.get(kept.digest) or known.unknown.get(kept.digest)
        if told is None:  # then it is from nowhere, or gone
            continue
        if id(kept) not in judged:
            judged[id(kept)] = list(_differs(kept, *told))
        for why in judged[id(kept)]:
            verdict.breach("changed", f"{region}: {kept.lane} {kept.sequence} {why}")


def _differs(kept: Kept, call: Call, event: Written) -> Iterator[str]:
    """Yield each difference between a stored event and what its writer requested and got acknowledged."""
    if kept.place != (event.lane, event.sequence):
        yield f"was acknowledged as {event.lane} {event.sequence}"
    if kept.hlc != event.hlc:
        yield f"has the time {kept.hlc} and was acknowledged with {event.hlc}"
    if vector_of(kept.observed) is None:
        yield f"declares {kept.observed!r} as observed, which is not a version vector"
    asked = _asked(call, event)
    if asked is None:
        return
    stream, kind, payload = asked
    found = kept.payload if call.name == "write" else {k: v for k, v in kept.fields.items() if k in payload}
    if (kept.stream, kept.type) != (stream, kind) or _text(found) != _text(payload):
        asked_for = f"call {call.number} requested {stream} {kind} {_text(payload)}"
        yield f"is {kept.stream} {kept.type} {_text(kept.payload)}; {asked_for}"


def _asked(call: Call, event: Written) -> tuple[str, str, Mapping[str, Any]] | None:
    """Return the stream, type and payload that an event of the call should have. The payload of a claim or decision holds
    more than was requested."""
    if call.name in CLAIMS:
        return call.value["stream"], CLAIMS[call.name], {"owner": call.value["owner"]}
    for each in call.value:
        if str(each["id"]) == event.id:
            return each["stream"], each["type"], {k: v for k, v in each.items() if k not in ("stream", "type")}
    return None


def _text(value: object) -> str:
    """Return the value as text, which differs for 1, 1.0 and true."""
    return json.dumps(value, sort_keys=True, default=repr)
