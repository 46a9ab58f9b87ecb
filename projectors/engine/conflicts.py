"""Conflicts: what a rule discarded because of a concurrent write, with both events.

Whether two events conflict depends on the two alone: neither writer had seen the other's event, both feed one field, and its
CRDT's rule keeps one and drops something of the other. So the list is the same in every region that has the events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from projectors.crdt import Made, Tag
from projectors.engine.folding import Pass
from projectors.model.projection import Projection, ProjectionFailed, Reveal
from replicator.domain.errors import DamagedEvent
from replicator.domain.event import Event
from replicator.domain.vector import VersionVector
from replicator.erasure import KeyUnavailable

_STREAMS_KEPT = 2_000
_EVENTS_KEPT = 4

Skip = Callable[[Event, str], None]
"""Callback for each event that a projection cannot process, with the reason, which quotes no payload."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Conflict in one field: the rule kept `kept` and discarded `discarded`."""

    projection: str
    version: int
    field: str
    rule: str
    """Name of the CRDT, e.g. LwwRegister."""
    kept: Event
    discarded: Event


@dataclass(frozen=True, slots=True)
class _Known:
    """Event as a projection sees it."""

    event: Event
    context: VersionVector
    made: Mapping[str, Made]
    """Operations of the event, by field."""
    rows: Collection[str]
    """Rows of a cross-stream projection that the event feeds; a single unnamed row for all other projections."""

    @classmethod
    def of(cls, projection: type[Projection], event: Event, reveal: Reveal | None) -> _Known:
        """Return the event as the projection sees it. Raises as `Projection.apply` for an event that cannot be digested."""
        tag = Tag.of(event)
        made = {}
        for name, operation in projection.made_of(event, reveal).items():
            crdt = projection.fields[name].crdt
            try:
                crdt.apply(crdt.initial(), operation, tag)
            except Exception as error:  # a type cannot judge what it refuses
                raise ProjectionFailed(
                    f"projection {projection.name}, field {name}, cannot process event {event.id} of type {event.type!r}",
                    error,
                ) from error
            made[name] = Made(operation, tag)
        return cls(event, tag.context, made, projection.rows_of(event) if projection.rows else ("",))

    def sees(self, other: _Known) -> bool:
        return self.context.covers(other.event.region, other.event.sequence)


def between(projection: type[Projection], left: Event, right: Event, reveal: Reveal | None = None) -> Iterator[Conflict]:
    """Yield the conflicts of two events of one stream. Raises as `Projection.apply` for an event that cannot be digested."""
    ours, theirs = _Known.of(projection, left, reveal), _Known.of(projection, right, reveal)
    if not ours.sees(theirs) and not theirs.sees(ours):
        yield from _settled(projection, ours, theirs)


def _settled(projection: type[Projection], left: _Known, right: _Known) -> Iterator[Conflict]:
    """Yield the conflicts of two concurrent events."""
    if set(left.rows).isdisjoint(right.rows):
        return
    for name in left.made.keys() & right.made.keys():
        conflict = _lost(projection, name, left, right)
        if conflict is not None:
            yield conflict


def _lost(projection: type[Projection], name: str, left: _Known, right: _Known) -> Conflict | None:
    crdt = projection.fields[name].crdt
    lost = crdt.discarded(left.made[name], right.made[name])
    if lost is None:
        return None
    kept, dropped = (right, left) if lost is left.made[name] else (left, right)
    return Conflict(projection.name, projection.version, name, type(crdt).__name__, kept.event, dropped.event)


def conflicts(
    projection: type[Projection], events: Iterable[Event], reveal: Reveal | None = None, skip: Skip | None = None
) -> list[Conflict]:
    """Return every event of a stream of which a rule has discarded something, once for each field, with the last event that
    it lost to; in stream order of the losers. `events` are all of the stream's, in any order.

    Events that cannot be digested are left out; `skip` is called for each. The cost grows with the events and with the pairs
    of concurrent ones that feed one field of one row.
    """
    lanes: dict[tuple[str, str], dict[str, _Lane]] = {}
    found: dict[tuple[tuple[Any, ...], str], Conflict] = {}
    for event in sorted(events, key=lambda event: event.order):
        known = _digested(projection, event, reveal, skip)
        if known is None:
            continue
        for name in known.made:
            for row in known.rows:
                fed = lanes.setdefault((name, row), {})
                for conflict in _among(projection, name, known, fed):
                    key = (conflict.discarded.order, name)
                    if key not in found or found[key].kept.order < conflict.kept.order:
                        found[key] = conflict
                fed.setdefault(event.region, _Lane()).add(known)
    return [found[key] for key in sorted(found)]


def _digested(projection: type[Projection], event: Event, reveal: Reveal | None, skip: Skip | None) -> _Known | None:
    try:
        return _Known.of(projection, event, reveal)
    except ProjectionFailed as error:
        why = error.public
    except (DamagedEvent, KeyUnavailable) as error:
        why = str(error)
    if skip is not None:
        skip(event, why)
    return None


@dataclass(slots=True)
class _Lane:
    """Events of one field from one region, in lane order."""

    sequences: list[int] = field(default_factory=list)
    events: list[_Known] = field(default_factory=list)

    def add(self, known: _Known) -> None:
        self.sequences.append(known.event.sequence)
        self.events.append(known)

    def beyond(self, sequence: int) -> Iterator[_Known]:
        for place in range(bisect_right(self.sequences, sequence), len(self.events)):
            yield self.events[place]


def _among(projection: type[Projection], name: str, known: _Known, lanes: Mapping[str, _Lane]) -> Iterator[Conflict]:
    """Yield the conflicts with events earlier in stream order that the writer had not seen. As that order respects what
    writers had seen, none of their writers had seen this one."""
    for region, lane in lanes.items():
        if region != known.event.region:
            for other in lane.beyond(known.context.get(region)):
                conflict = _lost(projection, name, known, other)
                if conflict is not None:
                    yield conflict


class _Met:
    """Event that an engine has folded. Its operations are computed when it meets a concurrent event."""

    __slots__ = ("_known", "context", "event", "live", "projection")

    def __init__(self, projection: type[Projection], event: Event, live: bool) -> None:
        self.projection = projection
        self.event = event
        self.live = live
        self.context = Tag.of(event).context
        self._known: _Known | bool | None = False

    def concurrent(self, other: _Met) -> bool:
        mine, theirs = self.event, other.event
        return not (self.context.covers(theirs.region, theirs.sequence) or other.context.covers(mine.region, mine.sequence))

    def known(self, reveal: Reveal | None) -> _Known | None:
        if isinstance(self._known, bool):
            self._known = _digested(self.projection, self.event, reveal, None)  # the engine that folds it reports its errors
        return self._known


@dataclass(slots=True)
class _Stream:
    """State that is remembered of a stream."""

    last: dict[str, int] = field(default_factory=dict)
    """Sequence up to which each lane was checked: by the first version that came, when several are fed."""
    lanes: dict[str, deque[_Met]] = field(default_factory=dict)


class Recent:
    """Counter of conflicts as an engine meets them, among the last few events of each lane that it has folded: once for each
    projection, however many versions of it stand side by side.

    It reads from no store and so costs little; it does not know what a process met before it was started.
    """

    def __init__(self, reveal: Reveal | None = None) -> None:
        self.met: Counter[tuple[str, str]] = Counter()
        """Number of conflicts, by projection and rule."""
        self._reveal = reveal
        self._streams: OrderedDict[tuple[str, str], _Stream] = OrderedDict()

    def fold(self, made: Pass, since: VersionVector, at_hand: Mapping[str, Collection[int]] | None = None) -> None:
        """Count the conflicts of what was folded beyond `since`, and saved. `at_hand` are the sequences, by lane, that have
        just arrived: a first fold of a view may meet a whole old history, of which only they count."""
        folded = [event for event in made.folded if not since.covers(event.region, event.sequence)]
        if len(folded) > _EVENTS_KEPT and self._alone(made.projection, folded):
            folded = folded[-_EVENTS_KEPT:]  # no event can be concurrent with the earlier ones, and none is remembered
        for event in folded:
            live = bool(since) or (at_hand is not None and event.sequence in at_hand.get(event.region, ()))
            self._add(_Met(made.projection, event, live))

    def _alone(self, projection: type[Projection], events: Sequence[Event]) -> bool:
        """Return whether these events are of one lane, and no other lane of their stream is known."""
        lanes = {event.region for event in events}
        known = self._streams.get((projection.name, str(events[0].stream)))
        return len(lanes) == 1 and (known is None or known.lanes.keys() <= lanes)

    def _add(self, met: _Met) -> None:
        event, projection = met.event, met.projection
        key = (projection.name, str(event.stream))
        stream = self._streams.setdefault(key, _Stream())
        self._streams.move_to_end(key)
        if len(self._streams) > _STREAMS_KEPT:
            self._streams.popitem(last=False)
        if event.sequence <= stream.last.get(event.region, 0):
            return  # another version's, or folded again
        stream.last[event.region] = event.sequence
        found = set[tuple[str, str]]()
        for region, others in stream.lanes.items():
            if region != event.region:
                for other in reversed(others):
                    if met.context.covers(region, other.event.sequence):
                        break
                    found.update(self._between(met, other))
        self.met.update((projection.name, rule) for _, rule in found)
        stream.lanes.setdefault(event.region, deque(maxlen=_EVENTS_KEPT)).append(met)

    def _between(self, met: _Met, other: _Met) -> Iterator[tuple[str, str]]:
        if other.projection is not met.projection or not (met.live or other.live) or not met.concurrent(other):
            return
        kinds = {met.event.type, other.event.type}
        if not any(kinds <= each.handlers.keys() for each in met.projection.fields.values()):
            return
        ours, theirs = met.known(self._reveal), other.known(self._reveal)
        if ours is not None and theirs is not None:
            for conflict in _settled(met.projection, ours, theirs):
                yield conflict.field, conflict.rule
