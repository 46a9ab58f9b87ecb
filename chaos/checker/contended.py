"""Checks of contention, beside those of every run: no update is lost, and claims that may be granted twice end with one
owner.

They do not know how preconditions are kept. They recompute every decision from the vector that its event observed, and every
claim by walking through the claim's events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from chaos.checker.calls import CLAIMS, OPTIMISTIC
from chaos.checker.causes import Knowledge, vector_of
from chaos.checker.history import Finals, Kept
from chaos.checker.verdict import PROMISES, Verdict

TALLY, HOMED, NICKNAME = "tally", "email", "nickname"
"""Types of streams: decisions, claims under the home-region rule, and claims under the optimistic rule."""
_CLAIMED, _LOST = CLAIMS[OPTIMISTIC], "meridian.claim_lost"
_NOT_LOOKED_AT = ("read_your_writes", "monotonic_reads", "reads_explained", "sets", "registers", "causal_order")
CONTENTION = {name: promise for name, promise in PROMISES.items() if name not in _NOT_LOOKED_AT} | {
    "lost_updates": "every decision is based on exactly the events that it declares as observed, with no other in between",
    "not_at_home": "a claim under the home-region rule is decided in its home",
    "not_one_owner": "a claim under the optimistic rule has one owner, the same in every region, and readers see that owner",
    "not_told": "every loser of a claim under the optimistic rule is notified exactly once",
}
"""Promises of contention, with what each means."""


class Decisions:
    """Judge of a run's decisions and claims. `concurrent` counts decisions on streams without a home that were concurrent
    with one in another region: merged, not lost."""

    def __init__(self, claim_home: Callable[[str], str], stream_home: Callable[[str], str | None]) -> None:
        self._claim_home = claim_home
        self._stream_home = stream_home
        self.concurrent = 0

    def __call__(self, verdict: Verdict, known: Knowledge, finals: Finals) -> None:
        held = {region: _by_stream(final.events) for region, final in finals.items()}
        first = next(iter(held.values()))
        for stream, events in first.items():
            kind = stream.partition("/")[0]
            if kind == TALLY:
                self._recount(verdict, stream, events)
            elif kind == HOMED:
                self._walk_homed(verdict, events)
        for stream in {stream for streams in held.values() for stream in streams if stream.startswith(f"{NICKNAME}/")}:
            owners = {region: _owner(streams.get(stream, ())) for region, streams in held.items()}
            _walk_optimistic(verdict, stream, owners, first)
            for region, final in finals.items():
                if final.owners.get(stream) != owners[next(iter(finals))]:
                    verdict.breach(
                        "not_one_owner", f"{stream} is owned by {owners}, but {region} reports {final.owners.get(stream)}"
                    )
        for region, final in finals.items():
            for stream, view in final.views.items():
                verdict.look("counters")
                total = sum(kept.fields["n"] for kept in held[region].get(stream, ()))
                if view.value != {"total": total}:
                    verdict.breach("counters", f"{region}: {stream} is {view.value}, the sum of its events is {total}")

    def _recount(self, verdict: Verdict, stream: str, events: Sequence[Kept]) -> None:
        """Check that each decision holds the total that follows from what it observed, with no event of its own lane in
        between."""
        verdict.look("lost_updates", len(events))
        for kept in events:
            observed = sum(_observed(kept, other) for other in events)
            own = (vector_of(kept.observed) or {}).get(kept.region, 0)
            if kept.fields.get("total") != observed + 1 or own != kept.sequence - 1:
                verdict.breach("lost_updates", f"{kept.lane} {kept.sequence} is {kept.payload} and observed {kept.observed}")
            self.concurrent += any(_concurrent(kept, other) for other in events)
        home = self._stream_home(stream)
        if home is not None and [kept.fields.get("total") for kept in events] != list(range(1, len(events) + 1)):
            verdict.breach("lost_updates", f"{stream}, decided in {home} alone, does not increase one by one")

    def _walk_homed(self, verdict: Verdict, events: Sequence[Kept]) -> None:
        verdict.look("not_at_home", len(events))
        for kept in events:
            if kept.region != (home := self._claim_home(kept.stream)):
                verdict.breach("not_at_home", f"{kept.lane} {kept.sequence} by {kept.payload}, but its home is {home}")


def _by_stream(events: Sequence[Kept]) -> dict[str, list[Kept]]:
    """Return the events of each stream, in the order that they have in every region."""
    found: dict[str, list[Kept]] = {}
    for kept in sorted(events, key=lambda kept: (kept.hlc, kept.region, kept.sequence)):
        found.setdefault(kept.stream, []).append(kept)
    return found


def _observed(kept: Kept, other: Kept) -> bool:
    return (vector_of(kept.observed) or {}).get(other.region, 0) >= other.sequence


def _concurrent(kept: Kept, other: Kept) -> bool:
    return kept.region != other.region and not _observed(kept, other) and not _observed(other, kept)


def _walk_optimistic(verdict: Verdict, stream: str, owners: dict[str, str | None], held: dict[str, list[Kept]]) -> None:
    events = held.get(stream, ())
    verdict.look("not_one_owner")
    if len(set(owners.values())) != 1 or (None in owners.values() and events):
        verdict.breach("not_one_owner", f"{stream} is owned by {owners}")
    owner = next(iter(owners.values()))
    told = Counter(kept.fields.get("claim") for kept in events if kept.type == _LOST)
    for kept in events:
        loser = str(kept.fields.get("owner"))
        if kept.type != _CLAIMED or loser == owner:
            continue
        verdict.look("not_told")
        name = f"{kept.lane}#{kept.sequence:016d}"
        own = [each.fields.get("event") for each in held.get(loser, ()) if each.type == _LOST].count(name)
        if told[name] != 1 or own != 1:
            verdict.breach("not_told", f"{name}: its loss is recorded {told[name]} times in the claim, {own} in {loser}")


def _owner(events: Sequence[Kept]) -> str | None:
    """Return the owner: the first to claim, as no client here releases."""
    return next((str(kept.fields.get("owner")) for kept in events if kept.type == _CLAIMED), None)
