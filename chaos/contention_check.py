"""What must hold after contention, judged from what the writers were told and what the regions hold at the end.

It knows nothing of how preconditions are kept: it recounts every decision from what its event says to have observed, and
every claim by walking through the claim's events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from replicator.domain.event import Event
from replicator.domain.names import StreamId

Histories = Mapping[str, Mapping[StreamId, Sequence[Event]]]
"""region -> stream -> its events there, in stream order."""

Owners = Mapping[str, Mapping[StreamId, str | None]]
"""region -> claim -> who owns it, as the claims' own reading says there."""


@dataclass(frozen=True, slots=True)
class Note:
    """An acknowledged event, and the kind of operation that wrote it."""

    event: Event
    kind: str


@dataclass(slots=True)
class Findings:
    """How often each promise was broken (see `broken`), and what else was counted."""

    lost: int = 0
    """Acknowledged events that some region lacks."""
    acknowledged_twice: int = 0
    """Events that more than one operation was told are its own: all but one of those are lost."""
    from_nowhere: int = 0
    """Events that nobody was told of."""
    different: int = 0
    """Streams that are not the same in all regions."""
    lost_updates: int = 0
    """Decisions that were not made on exactly what their event says to have observed, or that another overtook."""
    owned_twice: int = 0
    """Claims under the home-region rule that were granted while somebody else owned them, or outside of their home."""
    not_one_owner: int = 0
    """Claims under the optimistic rule without exactly one owner, the same in every region, and said to be it there."""
    not_told: int = 0
    """Losers under the optimistic rule that were not told exactly once."""
    decisions: int = 0
    concurrent: int = 0
    """Decisions on streams without a home that were concurrent with one in another region: merged, not lost."""
    claims: int = 0
    conflicts: int = 0
    """Claims under the optimistic rule that lost."""
    examples: list[str] = field(default_factory=list)

    @property
    def broken(self) -> dict[str, int]:
        """The promises that were broken, with how often."""
        names = (
            "lost", "acknowledged_twice", "from_nowhere", "different", "lost_updates", "owned_twice", "not_one_owner",
            "not_told",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def add(self, what: str, example: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.examples) < 10:
            self.examples.append(f"{what}: {example}")


def check(
    notes: Sequence[Note],
    histories: Histories,
    claim_home: Callable[[StreamId], str],
    stream_home: Callable[[StreamId], str | None],
    said: Owners,
) -> Findings:
    """Everything that is promised of these notes and histories, and of what is `said` of optimistic claims' owners."""
    found = Findings()
    _compare(notes, histories, found)
    first = next(iter(histories.values()))
    for stream, events in first.items():
        if stream.type == "tally":
            _recount(events, stream_home(stream), found)
        elif stream.type == "email":
            _walk_homed(events, claim_home(stream), found)
        elif stream.type == "nickname":
            _walk_optimistic(stream, {region: held[stream] for region, held in histories.items()}, first, found)
            _compare_owner(stream, _owner(events), said, found)
    return found


def _compare(notes: Sequence[Note], histories: Histories, found: Findings) -> None:
    acknowledged = {note.event.digest: note.event.id for note in notes}
    for event_id, told in Counter(note.event.id for note in notes).items():
        if told > 1:
            found.add("acknowledged_twice", f"{event_id}, to {told} operations")
    for region, streams in histories.items():
        held = {event.digest for events in streams.values() for event in events}
        for digest in acknowledged.keys() - held:
            found.add("lost", f"{acknowledged[digest]} in {region}")
    for events in next(iter(histories.values())).values():
        for event in events:
            # What the settling wrote is nobody's operation.
            if event.digest not in acknowledged and event.type != "meridian.claim_lost":
                found.add("from_nowhere", event.id)
    for stream in next(iter(histories.values())):
        if len({tuple(event.digest for event in streams[stream]) for streams in histories.values()}) > 1:
            found.add("different", str(stream))


def _recount(events: Sequence[Event], home: str | None, found: Findings) -> None:
    """Each decision says the total that it made of what it observed; nothing of its own lane may lie in between."""
    for event in events:
        found.decisions += 1
        observed = sum(1 for other in events if event.observed.covers(other.region, other.sequence))
        if event.payload["total"] != observed + 1 or event.observed.get(event.region) != event.sequence - 1:
            found.add("lost_updates", f"{event.id} says {event.payload['total']}, having observed {event.observed}")
        if any(_concurrent(event, other) for other in events):
            found.concurrent += 1
    if home is not None and [event.payload["total"] for event in events] != list(range(1, len(events) + 1)):
        found.add("lost_updates", f"{events[0].stream}, decided in {home} alone, does not count up one by one")


def _concurrent(event: Event, other: Event) -> bool:
    return (
        event.region != other.region
        and not event.observed.covers(other.region, other.sequence)
        and not other.observed.covers(event.region, event.sequence)
    )


def _walk_homed(events: Sequence[Event], home: str, found: Findings) -> None:
    owner: str | None = None
    for event in events:
        found.claims += 1
        if event.region != home or (event.type == "meridian.claimed" and owner not in (None, event.payload["owner"])):
            found.add("owned_twice", f"{event.id} by {event.payload['owner']}, owned by {owner}, at home in {home}")
        owner = event.payload["owner"] if event.type == "meridian.claimed" else None


def _walk_optimistic(
    stream: StreamId, held: Mapping[str, Sequence[Event]], users: Mapping[StreamId, Sequence[Event]], found: Findings
) -> None:
    owners = {_owner(events) for events in held.values()}
    events = next(iter(held.values()))
    if len(owners) != 1 or (None in owners and events):
        found.add("not_one_owner", f"{stream} is owned by {owners}")
    owner = next(iter(owners))
    told = Counter(event.payload["claim"] for event in events if event.type == "meridian.claim_lost")
    for event in events:
        if event.type != "meridian.claimed":
            continue
        found.claims += 1
        loser = event.payload["owner"]
        if loser == owner:
            continue
        found.conflicts += 1
        own = [e.payload["event"] for e in users[StreamId.parse(loser)] if e.type == "meridian.claim_lost"].count(event.id)
        if told[event.id] != 1 or own != 1:
            found.add("not_told", f"{event.id}: the claim says {told[event.id]} times that it lost, {loser} {own} times")


def _compare_owner(stream: StreamId, owner: str | None, said: Owners, found: Findings) -> None:
    for region, owners in said.items():
        if owners[stream] != owner:
            found.add("not_one_owner", f"{stream} is owned by {owner}, and {region} says {owners[stream]}")


def _owner(events: Sequence[Event]) -> str | None:
    """The first to claim owns it: nobody here releases."""
    return next((str(event.payload["owner"]) for event in events if event.type == "meridian.claimed"), None)
