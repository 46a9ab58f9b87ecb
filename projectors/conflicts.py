"""Conflicts: what a rule discarded because somebody else had written at the same time, with both events.

Whether two events conflict depends on the two alone: neither writer had seen the other's event, both feed one field, and its
CRDT's rule keeps one and drops something of the other. So the list is the same in every region that has the events.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt import Made, Tag
from projectors.folding import Pass
from projectors.projection import Projection, ProjectionFailed, Reveal
from replicator.domain.event import Event
from replicator.domain.vector import VersionVector
from replicator.erasure import KeyUnavailable
from replicator.errors import DamagedEvent

_LANES_KEPT = 2_000
_EVENTS_KEPT = 4


@dataclass(frozen=True, slots=True)
class Conflict:
    """In this field, the rule kept what `kept` says and discarded what `discarded` does."""

    projection: str
    field: str
    rule: str
    """The CRDT's name, e.g. LwwRegister."""
    kept: Event
    discarded: Event


def between(projection: type[Projection], left: Event, right: Event, reveal: Reveal | None = None) -> Iterator[Conflict]:
    """The conflicts of two events of one stream. Raises what `Projection.apply` does for an event that cannot be
    digested."""
    tags = _tag(left), _tag(right)
    if not tags[0].concurrent(tags[1]):
        return
    if projection.rows and not set(projection.rows_of(left)) & set(projection.rows_of(right)):
        return
    fed = [name for name, field in projection.fields.items() if {left.type, right.type} <= field.handlers.keys()]
    if fed:
        ours, theirs = projection.made_of(left, reveal), projection.made_of(right, reveal)
        yield from _settled(projection, (left, tags[0], ours), (right, tags[1], theirs))


def _settled(
    projection: type[Projection], left: tuple[Event, Tag, Mapping[str, Any]], right: tuple[Event, Tag, Mapping[str, Any]]
) -> Iterator[Conflict]:
    for name in left[2].keys() & right[2].keys():
        crdt = projection.fields[name].crdt
        ours, theirs = Made(left[2][name], left[1]), Made(right[2][name], right[1])
        lost = crdt.discarded(ours, theirs)
        if lost is not None:
            kept, dropped = (right[0], left[0]) if lost is ours else (left[0], right[0])
            yield Conflict(projection.name, name, type(crdt).__name__, kept, dropped)


def conflicts(projection: type[Projection], events: Iterable[Event], reveal: Reveal | None = None) -> list[Conflict]:
    """Every event of a stream of which a rule has discarded something, once for each field, with the last event that it
    lost to; in stream order of the losers. `events` are all of the stream's, in any order."""
    history = sorted(events, key=lambda event: event.order)
    position = {(event.region, event.sequence): place for place, event in enumerate(history)}
    found: dict[tuple[int, str], Conflict] = {}
    for place, event in enumerate(history):
        for other in _concurrent_before(history, position, place):
            for conflict in between(projection, event, other, reveal):
                loser = position[(conflict.discarded.region, conflict.discarded.sequence)]
                known = found.get((loser, conflict.field))
                if known is None or known.kept.order < conflict.kept.order:
                    found[(loser, conflict.field)] = conflict
    return [found[key] for key in sorted(found)]


def _concurrent_before(history: list[Event], position: Mapping[tuple[str, int], int], place: int) -> Iterator[Event]:
    """The events before one in stream order that its writer had not seen. As the order respects what writers had seen, none
    of them had seen it."""
    event = history[place]
    context = _tag(event).context
    ends: dict[str, int] = {}
    for earlier in reversed(history[:place]):
        ends.setdefault(earlier.region, earlier.sequence)
    for region, last in ends.items():
        for sequence in range(context.get(region) + 1, last + 1):
            if (region, sequence) in position:
                yield history[position[(region, sequence)]]


class Recent:
    """Counts conflicts as an engine meets them, among the last few events of each lane that it has folded.

    It asks no store and so costs little; what a process met before it was started it does not know.
    """

    def __init__(self, reveal: Reveal | None = None) -> None:
        self.met: Counter[tuple[str, str]] = Counter()
        """By projection and rule."""
        self._reveal = reveal
        self._lanes: OrderedDict[tuple[str, int, str], dict[str, deque[Event]]] = OrderedDict()

    def fold(self, made: Pass, since: VersionVector) -> None:
        """What was folded beyond `since`, and saved."""
        for event in made.folded:
            if not since.covers(event.region, event.sequence):
                self._add(made.projection, event)

    def _add(self, projection: type[Projection], event: Event) -> None:
        key = (projection.name, projection.version, str(event.stream))
        lanes = self._lanes.setdefault(key, {})
        self._lanes.move_to_end(key)
        if len(self._lanes) > _LANES_KEPT:
            self._lanes.popitem(last=False)
        context, met = _tag(event).context, set[tuple[str, str]]()
        for region, others in lanes.items():
            if region != event.region:
                for other in reversed(others):
                    if context.covers(region, other.sequence):
                        break
                    met.update(self._between(projection, event, other))
        self.met.update((projection.name, rule) for _, rule in met)
        lanes.setdefault(event.region, deque(maxlen=_EVENTS_KEPT)).append(event)

    def _between(self, projection: type[Projection], event: Event, other: Event) -> Iterator[tuple[str, str]]:
        try:
            for conflict in between(projection, event, other, self._reveal):
                yield conflict.field, conflict.rule
        except (ProjectionFailed, DamagedEvent, KeyUnavailable):
            return  # whoever folds it says so


def _tag(event: Event) -> Tag:
    return Tag(event.region, event.sequence, event.hlc, event.observed)
