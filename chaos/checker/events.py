"""Checks of events: each acknowledged event is everywhere, once, unchanged, in its lane's order; and there is no other."""

from __future__ import annotations

from chaos.checker.causes import Knowledge, by_lane, lane_of, vector_of
from chaos.checker.history import Call, Final, Finals, History, Kept, Outcome, Written
from chaos.checker.verdict import Verdict

_GENESIS = "0" * 64
_HEARTBEAT = "meridian.heartbeat"
_OWN = ("meridian.claim_lost", _HEARTBEAT)
"""Types of the events that Meridian itself writes: when a claim turns out to have lost, and every few seconds."""


def check_events(verdict: Verdict, known: Knowledge, history: History, finals: Finals) -> None:
    """Judge every region's events."""
    failed = {
        each["id"] for call in history.calls if call.outcome is Outcome.FAIL and isinstance(call.value, list)
        for each in call.value
    }  # fmt: skip
    for region, final in finals.items():
        _compare(verdict, known, history, region, final, failed)
        _chain(verdict, region, final.events)
        verdict.look("quarantined")
        for refused in final.quarantined:
            verdict.breach("quarantined", f"{region}: {refused}")
    _places(verdict, known)
    _transactions(verdict, known, history, finals)
    _lane_order(verdict, known)
    _identical(verdict, history, finals)


def _compare(verdict: Verdict, known: Knowledge, history: History, region: str, final: Final, failed: set[str]) -> None:
    found = {(kept.lane, kept.sequence): kept for kept in final.events}
    verdict.look("lost", len(known.acknowledged))
    for _, event in known.acknowledged.values():
        kept = found.get((event.lane, event.sequence))
        if kept is None:
            verdict.breach("lost", f"{region} lacks {event.lane} {event.sequence}, which was acknowledged")
        elif kept.digest != event.digest:
            verdict.breach("changed", f"{region}: {event.lane} {event.sequence} is not the acknowledged event")
    ids: set[str] = set()
    for kept in final.events:
        verdict.look("changed")
        where = f"{region}: {kept.lane} {kept.sequence}"
        if kept.computed != kept.digest:
            verdict.breach("changed", f"{where} does not match its digest")
        if kept.digest in history.gone:
            verdict.breach("lost", f"{where} was counted as gone, but exists here: it was not brought back")
        name = str(kept.fields.get("id", ""))
        verdict.look("from_nowhere")
        if kept.type not in _OWN and kept.digest not in known.acknowledged and kept.digest not in known.unknown:
            who = f"belongs to a call that failed to write {name}" if name in failed else "was not written by any call"
            verdict.breach("from_nowhere", f"{where} {who}")
        if name:
            verdict.look("duplicated")
            if name in ids:
                verdict.breach("duplicated", f"{region}: {name} exists twice, once at {kept.lane} {kept.sequence}")
            ids.add(name)


def _chain(verdict: Verdict, region: str, events: list[Kept]) -> None:
    for lane, held in by_lane(events).items():
        verdict.look("gaps", len(held))
        verdict.look("forked", len(held))
        last, digest = 0, _GENESIS
        for kept in held:
            if kept.sequence > last + 1:
                verdict.breach("gaps", f"{region}: {lane} has a gap before {kept.sequence}")
            elif kept.prev != digest:
                verdict.breach("forked", f"{region}: the chain of {lane} breaks at {kept.sequence}")
            last, digest = kept.sequence, kept.digest


def _places(verdict: Verdict, known: Knowledge) -> None:
    given: dict[tuple[str, int], str] = {}
    for _, event in known.acknowledged.values():
        verdict.look("acknowledged_twice")
        if given.setdefault((event.lane, event.sequence), event.digest) != event.digest:
            verdict.breach("acknowledged_twice", f"{event.lane} {event.sequence} was acknowledged for two events")


def _transactions(verdict: Verdict, known: Knowledge, history: History, finals: Finals) -> None:
    """Check that no transaction is torn. Regions that lost their data are left out: they got transactions back lane by
    lane."""
    lost = {lane.partition("#")[0] for lane in known.gone_from} | {event.partition("#")[0] for event in history.lost_regions}
    for call in history.calls:
        if call.outcome is Outcome.FAIL or len(call.events) < 2 or call.events[0].lane.partition("#")[0] in lost:
            continue
        verdict.look("torn")
        for region, final in finals.items():
            held = final.digests
            there = [event.digest in held for event in call.events]
            if any(there) and not all(there):
                verdict.breach("torn", f"{region} has {sum(there)} of the {len(there)} events of call {call.number}")


def _lane_order(verdict: Verdict, known: Knowledge) -> None:
    lanes: dict[str, list[tuple[Call, Written]]] = {}
    for call, event in known.acknowledged.values():
        lanes.setdefault(event.lane, []).append((call, event))
    for lane, written in lanes.items():
        verdict.look("lane_order", len(written))
        ended = sorted(written, key=lambda pair: pair[0].done or 0)
        written.sort(key=lambda pair: pair[0].began)
        done, latest = 0, None
        for call, event in written:
            while done < len(ended) and (ended[done][0].done or 0) < call.began:
                before = ended[done][1]
                latest = before if latest is None or before.sequence > latest.sequence else latest
                done += 1
            if latest is not None and (latest.sequence >= event.sequence or latest.hlc >= event.hlc):
                verdict.breach(
                    "lane_order",
                    f"{lane} {latest.sequence} ({latest.hlc}) existed before {event.sequence} ({event.hlc}) was requested",
                )


def check_causes(verdict: Verdict, known: Knowledge, history: History) -> None:
    """Check that an event comes after every event that its writer had seen, whatever the clocks showed."""
    _after_what_was_seen(verdict, history)
    for call, event in known.acknowledged.values():
        kept = known.events.get((event.lane, event.sequence))
        change = known.changes.get(event.id)
        if kept is None or change is None or kept.digest != event.digest:
            continue
        observed = vector_of(kept.observed) or {}
        for region, sequence in known.still(change.stream, change.context).items():
            verdict.look("causal_order")
            other = known.events.get((lane_of(region, change.stream), sequence))
            if other is not None and other.hlc >= kept.hlc and other.digest != kept.digest:
                verdict.breach(
                    "causal_order", f"{event.lane} {event.sequence} ({kept.hlc}) was written by {call.process} after seeing "
                    f"{other.lane} {sequence} ({other.hlc})",
                )  # fmt: skip
            if observed.get(region, 0) < sequence:
                verdict.breach(
                    "causal_order",
                    f"{event.lane} {event.sequence} does not declare {region} {sequence}, which its writer had seen",
                )


def _after_what_was_seen(verdict: Verdict, history: History) -> None:
    """Check that an event is later than the latest time that its writer had seen of its stream. A call records the latest
    time of all streams that it writes to, which belongs to one of them."""
    for call in history.calls:
        if call.outcome is not Outcome.OK or not isinstance(call.value, list) or not call.events or not call.hlc:
            continue
        verdict.look("causal_order")
        times = [event.hlc for event in call.events]
        time = min(times) if len({event.lane for event in call.events}) == 1 else max(times)
        if time <= call.hlc:
            verdict.breach("causal_order", f"call {call.number} had seen {call.hlc}, but its events have the time {time}")


def _identical(verdict: Verdict, history: History, finals: Finals) -> None:
    for region in sorted({call.region for call in history.calls} - finals.keys()):
        verdict.breach("regions_identical", f"{region} has no final read")
    reference: tuple[str, dict[tuple[str, int], str]] | None = None
    goes_on = {(kept.lane, kept.sequence) for final in finals.values() for kept in final.events if kept.type == _HEARTBEAT}
    for region, final in finals.items():
        held = {(kept.lane, kept.sequence): kept.digest for kept in final.events}
        if reference is None:
            reference = (region, held)
            continue
        verdict.look("regions_identical", len(held))
        for place in sorted(held.keys() | reference[1].keys()):
            if place in goes_on and not (place in held and place in reference[1]):
                continue  # heartbeats are written and copied while the regions are read
            if held.get(place) != reference[1].get(place):
                verdict.breach("regions_identical", f"{place[0]} {place[1]} differs between {reference[0]} and {region}")
