"""Cells of cross-stream projections. A row that many streams feed has one cell for each of them, which that stream alone
decides: so events of different streams never meet, and replay in any order gives one result.

A cell's vector names the last event of each lane that fed it, and what those events' writers had observed, as far as the
stream is folded: so nothing that a CRDT keeps for late lanes outlives their arrival. Of the events at or below it, all that
feed the cell are in it. What was observed beyond is recorded with how far the stream is folded (`waits`); once lanes reach
it, the cell moves on, though nothing fed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from projectors.engine.folding import Pass, Wanted, fold_lanes, reader
from projectors.engine.sink import BROKEN, Change, Sink, ViewRefused
from projectors.model.projection import REMEDY, WAITS, Projection, failed
from projectors.model.view import MAX_VIEW_BYTES, View, ViewKey
from replicator.domain.errors import DamagedEvent, InvalidConfig, InvalidEvent, RegionUnavailable, place
from replicator.domain.event import Event
from replicator.domain.names import DELIMITER, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.store import EventStore

T = TypeVar("T")

_MAX_OWNER_BYTES = 1_024  # DynamoDB's limit of a sort key
_STREAMS_AT_ONCE = 100


@dataclass(slots=True)
class Spread:
    """Fold of a stream into its cells: from the position of `view` (None: the sink has nothing of it yet) to the wanted
    one."""

    projection: type[Projection]
    stream: StreamId
    view: View | None
    wanted: Wanted
    before: VersionVector | None = None
    """Position of the stream in the sink, also by another declaration, where `view` is None."""
    made: Pass = field(init=False)
    waits: dict[str, VersionVector] = field(init=False)
    """Vector that each row's cell has observed beyond what is folded, by row."""
    refused: str = ""
    """Reason why nothing of it can be saved, or empty."""
    overtaken: bool = False
    """Whether the stream has moved since it was read: it must be read again."""

    def __post_init__(self) -> None:
        self.made = Pass(self.projection, self.seen)
        held = self.view.state.get(WAITS, {}) if self.view is not None else {}
        self.waits = {row: VersionVector(beyond) for row, beyond in held.items()}

    @property
    def key(self) -> ViewKey:
        return self.projection.key(self.stream)

    @property
    def seen(self) -> VersionVector:
        return self.view.vector if self.view is not None else EMPTY

    @property
    def upto(self) -> VersionVector:
        return self.wanted.upto.join(self.before or self.seen)

    def alone(self, work: Callable[[], T]) -> T | None:
        """Return the result of `work`; None when it raises, which stops this stream's fold and no other."""
        try:
            return work()
        except (RegionUnavailable, InvalidConfig, _OfAnother):
            raise
        except InvalidEvent as error:
            self.refused = f"one of its cells cannot be serialized: {place(error)}. {REMEDY}"
        except Exception as error:  # whatever the projection's code raises concerns it alone
            self.refused = failed(self.projection, error)
        return None

    def reached(self) -> View:
        """Return the record of how far the stream is folded now."""
        return self.projection.reached(str(self.stream), self.made.seen, self.waits)


def spread(spreads: Sequence[Spread], store: EventStore, sink: Sink, destroy: Callable[[Event], None]) -> list[Change]:
    """Fold each and record the outcome in it (`made`, `refused`). Returns the cells to save: one write a cell, however many
    events."""
    changes: list[Change] = []
    every = iter(each for each in spreads if not each.upto <= each.seen)
    while part := list(islice(every, _STREAMS_AT_ONCE)):  # all events of a part are in memory
        changes += _spread(part, store, sink, destroy)
    return changes


def _spread(spreads: Sequence[Spread], store: EventStore, sink: Sink, destroy: Callable[[Event], None]) -> list[Change]:
    routed = [(each, *route) for each in spreads if (route := each.alone(partial(_route, each, store, destroy))) is not None]
    for each, _, rows in routed:
        if rows and len(str(each.stream).encode()) > _MAX_OWNER_BYTES:
            each.refused = f"its stream's name has more than {_MAX_OWNER_BYTES:,} bytes, and such a stream cannot own cells"
    routed = [(each, events, rows) for each, events, rows in routed if not each.refused]
    stored, damaged = load_each(sink, [_cell(each, row) for each, _, rows in routed for row in sorted(rows)])
    _check_positions([(each, rows) for each, _, rows in routed], stored, sink)
    changes: list[Change] = []
    for each, events, rows in routed:
        wrong = [damaged[key] for key in (_cell(each, row) for row in sorted(rows)) if key in damaged]
        if wrong:
            each.refused = wrong[0]
        if wrong or each.overtaken:
            continue
        try:
            changes += each.alone(partial(_fold, each, events, stored)) or []
        except _OfAnother:  # its fold was killed in between: it no longer counts as folded, and is read again
            sink.discard([each.key])
            each.overtaken = True
    return changes


def _check_positions(routed: Sequence[tuple[Spread, set[str]]], stored: Mapping[ViewKey, View], sink: Sink) -> None:
    """Mark streams as overtaken whose position has changed. A cell that is absent has not been fed yet only if the stream is
    where it was before its cells were read; if not, the sink has lost what it held, and what looks new is not."""
    doubtful = [
        each for each, rows in routed if each.view is not None and any(_cell(each, row) not in stored for row in rows)
    ]
    found, _ = load_each(sink, [each.key for each in doubtful])
    for each in doubtful:
        view = found.get(each.key)
        each.overtaken = view is None or view.vector != each.seen


def _route(each: Spread, store: EventStore, destroy: Callable[[Event], None]) -> tuple[dict[str, list[Event]], set[str]]:
    """Return the events to fold, by lane, and the rows in which they count, or which wait for them."""
    events: dict[str, list[Event]] = {}
    rows = set(each.waits)

    def note(event: Event) -> None:
        destroy(event)
        rows.update(each.projection.rows_of(event))
        events.setdefault(event.region, []).append(event)

    read = reader(store, each.stream, each.wanted)
    each.made = fold_lanes(each.projection, each.stream, each.seen, each.upto, read, note)
    return events, rows


def _fold(each: Spread, lanes: Mapping[str, Sequence[Event]], stored: Mapping[ViewKey, View]) -> list[Change]:
    projection, owner = each.projection, str(each.stream)
    cells = {row: _read(each, stored.get(_cell(each, row))) for row in each.waits}
    contexts = dict(each.waits)

    def fold(event: Event) -> None:
        fed: dict[str, tuple[dict[str, Any], VersionVector]] = {}
        for row in projection.rows_of(event):
            states, vector = cells.get(row) or _read(each, stored.get(_cell(each, row)))
            if not vector.covers(event.region, event.sequence):
                states, vector = projection.apply(states, event), vector.advance(event.region, event.sequence)
            fed[row] = states, vector
        cells.update(fed)  # in all of its rows or in none
        for row in fed:
            contexts[row] = contexts.get(row, EMPTY).join(event.observed)

    routed = each.made
    each.made = fold_lanes(
        projection, each.stream, each.seen, routed.seen, lambda region, first, last: lanes.get(region, ()), fold
    )
    earlier = {_lane(event_id) for event_id, _ in each.made.stopped}
    each.made.stopped += [(event_id, why) for event_id, why in routed.stopped if _lane(event_id) not in earlier]
    folded = each.made.seen
    each.waits = {row: beyond for row, context in sorted(contexts.items()) if (beyond := context.beyond(folded))}
    changes = []
    for row, (states, vector) in sorted(cells.items()):
        known = VersionVector({region: min(last, folded.get(region)) for region, last in contexts[row].items()})
        before = stored.get(_cell(each, row))
        cell = projection.view(owner, states, vector.join(known), row)
        if cell == before:
            continue
        if cell.size > MAX_VIEW_BYTES:
            raise InvalidEvent(f"its cell in row {row} would have {cell.size:,} bytes; sinks take {MAX_VIEW_BYTES:,}")
        changes.append(Change(None if before is None else before.vector, cell))
    return changes


def _lane(event_id: str) -> str:
    return event_id.rpartition(DELIMITER)[0]


class _OfAnother(Exception):
    """Internal: a cell is of another declaration, though its stream was folded by this one."""


def _read(each: Spread, cell: View | None) -> tuple[dict[str, Any], VersionVector]:
    """Return a cell's states and vector. One of another declaration counts as absent, while its stream is folded again."""
    if cell is None or (each.view is None and each.projection.misfit(cell)):
        return each.projection.initial(), EMPTY
    states = cell.state
    if states.keys() != each.projection.fields.keys():
        raise _OfAnother
    return states, cell.vector


def _cell(each: Spread, row: str) -> ViewKey:
    return each.key._replace(row=row)


def load_each(sink: Sink, keys: Sequence[ViewKey]) -> tuple[dict[ViewKey, View], dict[ViewKey, str]]:
    """Return the views, and the reasons for those that are damaged or cannot be read: these do not keep the others from
    being fetched."""
    damaged: dict[ViewKey, str] = {}
    if not keys:
        return {}, damaged
    try:
        return dict(sink.load(keys)), damaged
    except (DamagedEvent, ViewRefused, *BROKEN):
        found: dict[ViewKey, View] = {}
    for key in keys:
        try:
            found.update(sink.load([key]))
        except (DamagedEvent, ViewRefused) as error:
            damaged[key] = str(error)
        except BROKEN as error:
            damaged[key] = f"view {key.projection} {key.key} cannot be read: {place(error)}; rebuild it from the events"
    return found, damaged
