"""A projection that does whatever it should not, next to sound ones: those are complete and the same bytes as without it, in
every kind of sink, folded by a worker and by a function, and what is wrong is in quarantine with what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import pytest

from projectors import (
    Engine,
    MemorySink,
    Projection,
    Sink,
    add,
    collection,
    counter,
    flag,
    grow_counter,
    maximum,
    minimum,
    register,
)
from projectors.crdt import MaxRegister
from projectors.engine.sink import Change, ViewRefused
from projectors.model.fields import Field
from projectors.model.projection import REMEDY
from projectors.model.view import View, ViewKey
from projectors.reads.queries import Query
from projectors.reads.rows import read_row
from projectors.run.feed import Feed
from projectors.run.invocation import Inbound
from projectors.run.projector import Projector
from projectors.run.view_quarantine import Poison
from projectors.run.worker import ProjectorWorker
from projectors.versions.rebuild import Rebuild
from projectors.versions.versions import Versions
from replicator import (
    Event,
    EventStore,
    HybridLogicalClock,
    InvalidConfig,
    MemoryStorage,
    NewEvent,
    Observed,
    RegionUnavailable,
)
from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.eventstore.event_items import to_item
from replicator.eventstore.upcasting import Schemas
from replicator.replication.batch_reader import Batch
from replicator.replication.refusals import Refusals

EAST, WEST = "us-east-1", "eu-west-1"
LINK = f"{EAST}>views"
SINKS = ["memory", pytest.param("dynamodb", marks=pytest.mark.emulator), "postgresql"]
STREAMS = ("plane/N1", "plane/N2", "plane/N3", "plane/N4")


class Place(Projection):
    name, stream_type = "place", "plane"
    at = register(landed=lambda p: p["at"])
    landings = counter(landed=lambda p: p["n"])
    airports = collection(landed=lambda p: add(p["at"]))


class Airports(Projection):
    name, stream_type = "airports", "plane"
    rows: ClassVar[Any] = {"landed": lambda p: p["at"]}
    landings = counter(landed=lambda p: p["n"])


SOUND = (Place, Airports)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def raising(error: Exception) -> Callable[[Any], Any]:
    def handler(payload: Any) -> Any:
        raise error

    return handler


def deep(payload: Any) -> Any:
    return deep(payload)


class Broken(MaxRegister):
    """A type whose methods raise, by name."""

    def __init__(self, *methods: str, error: Exception | None = None) -> None:
        object.__setattr__(self, "of", "integer")
        object.__setattr__(self, "methods", methods)
        object.__setattr__(self, "error", error)

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "__dict__").get("methods", ()):
            raise object.__getattribute__(self, "error") or ZeroDivisionError(name)
        return object.__getattribute__(self, name)


class Strange(MaxRegister):
    """A type whose state is nothing that JSON can hold."""

    def apply(self, state: Any, operation: Any, tag: Any) -> Any:
        return {operation}


def hostile(old: Mapping[str, Any] | None = None, /, **attributes: Any) -> tuple[type[Projection], type[Projection]]:
    """The class that a first process has, and the one that came after it without another version."""
    later = {"name": "hostile", "stream_type": "plane", **attributes}
    first = later if old is None else {"name": "hostile", "stream_type": "plane", **old}
    return type("First", (Projection,), dict(first)), type("Hostile", (Projection,), later)


def at(payload: Any) -> Any:
    return payload["at"]


def n(payload: Any) -> Any:
    return payload["n"]


def mutating(payload: Any) -> Any:
    payload["at"] = "nowhere"
    payload["legs"].append("X")
    return payload.pop("n")


bad_schemas = Schemas()
bad_schemas.type("landed", latest=2)
bad_schemas.upcaster("landed", 1)(raising(KeyError("upcaster")))
ROWS = {"landed": at}

RAISES = {
    "a handler raises": hostile(x=register(landed=raising(KeyError("x")))),
    "what is raised cannot be shown": hostile(x=register(landed=raising(Unspeakable()))),
    "a handler never ends": hostile(x=register(landed=deep)),
    "a set for a counter": hostile(x=counter(landed=lambda p: add(p["at"]))),
    "what JSON cannot hold": hostile(x=register(landed=lambda p: {1, 2})),
    "a state that JSON cannot hold": hostile(x=Field(Strange(), {"landed": n})),
    "a view that is too large": hostile(x=register(landed=lambda p: "x" * 400_000)),
    "a value that cannot be made": hostile(x=Field(Broken("value"), {"landed": n})),
    "a state that cannot be compacted": hostile(x=Field(Broken("compact"), {"landed": n})),
    "a beginning that cannot be made": hostile(x=Field(Broken("initial"), {"landed": n})),
    "a type that takes nothing": hostile(x=Field(Broken("apply"), {"landed": n})),
    "an upcaster raises": hostile(x=register(landed=at), schemas=bad_schemas.check()),
    "a row that cannot be told": hostile(x=counter(landed=n), rows={"landed": raising(KeyError("row"))}),
    "a row that is no text": hostile(x=counter(landed=n), rows={"landed": n}),
    "a cell that cannot be made": hostile(x=Field(Broken("value"), {"landed": n}), rows=ROWS),
    "a cell that has no licence": hostile(
        x=Field(Broken("value", error=InvalidConfig("no licence")), {"landed": n}), rows=ROWS
    ),
    "a view that has no licence": hostile(x=Field(Broken("initial", error=InvalidConfig("no licence")), {"landed": n})),
    "a type that says its region is away": hostile(
        x=Field(Broken("compact", error=RegionUnavailable("away")), {"landed": n}), rows=ROWS
    ),
    "a cell's beginning that cannot be made": hostile(x=Field(Broken("initial"), {"landed": n}), rows=ROWS),
}
QUIET = {
    "a handler changes its payload": hostile(a=counter(landed=mutating), z=register(landed=at)),
    "conflicts that cannot be judged": hostile(x=Field(Broken("discarded"), {"landed": n})),
    "a field more": hostile({"x": counter(landed=n)}, x=counter(landed=n), y=register(landed=at)),
    "a field less": hostile({"x": counter(landed=n), "y": register(landed=at)}, x=counter(landed=n)),
    "a field renamed": hostile({"x": counter(landed=n)}, y=counter(landed=n)),
    "a counter made a register": hostile({"x": counter(landed=n)}, x=register(landed=n)),
    "a register made a set": hostile({"x": register(landed=at)}, x=collection(landed=lambda p: add(p["at"]))),
    "a maximum made a minimum": hostile({"x": maximum(landed=n)}, x=minimum(landed=n)),
    "a counter that only grows now": hostile({"x": counter(landed=n)}, x=grow_counter(landed=n)),
    "a flag that wins otherwise": hostile(
        {"x": flag(landed=lambda p: p["n"] > 1)}, x=flag("disable", landed=lambda p: p["n"] > 1)
    ),
    "a cell's field more": hostile(
        {"x": counter(landed=n), "rows": ROWS}, x=counter(landed=n), y=maximum(landed=n), rows=ROWS
    ),
    "rows where there were none": hostile({"x": counter(landed=n)}, x=counter(landed=n), rows=ROWS),
    "no rows where there were some": hostile({"x": counter(landed=n), "rows": ROWS}, x=counter(landed=n)),
    "a route more": hostile(
        {"x": counter(landed=n), "rows": ROWS},
        x=counter(landed=n),
        y=counter(taxied=n),
        rows={**ROWS, "taxied": lambda p: "taxi"},
    ),
    "a cell's counter made a maximum": hostile({"x": counter(landed=n), "rows": ROWS}, x=maximum(landed=n), rows=ROWS),
}


class Region:
    """A region's events, of two regions that wrote at once, and the processes that fold them."""

    def __init__(self, sink: Sink) -> None:
        self.sink, self.control = sink, MemoryControl()
        self.quarantine = Quarantine(self.control, LINK)
        clock = HybridLogicalClock(lambda: 1_763_914_981_123)
        self.table = MemoryStorage()
        stores = {EAST: EventStore(self.table, EAST, [WEST], clock), WEST: EventStore(MemoryStorage(), WEST, [EAST], clock)}
        self.batches: list[list[Event]] = []
        for turn in range(3):
            batch: list[Event] = []
            for store in stores.values():
                for place, stream in enumerate(STREAMS):
                    seen = Observed.of(store.read(stream)) if turn == 1 else None
                    new = [NewEvent("landed", {"at": f"A{place}{k}", "n": turn + k + 1, "legs": ["L"]}) for k in range(2)]
                    new += [NewEvent("taxied", {"n": 1})] if turn < 1 else []
                    batch += store.append(stream, *new, observed=seen)
            self.table.insert_each([event for event in batch if event.region == WEST])
            self.batches.append(batch)
        self.store = EventStore(self.table, EAST, [WEST])

    def worker(self, projections: Sequence[type[Projection]], batches: Iterable[Sequence[Event]]) -> None:
        """A worker in a process of its own. Every batch is to be committed."""
        reader: Any = Reader([Batch("shard", tuple(map(record, batch)), f"{k}") for k, batch in enumerate(batches)])
        engine = Engine(projections, self.store, self.sink)
        feed = Feed(engine, TableBacklog(self.control, LINK))
        projector = ProjectorWorker(reader, self.projector(feed), 0.0)
        wanted = len(reader.batches)
        while reader.batches:
            projector.turn()
        assert len(reader.committed) == wanted

    def function(self, projections: Sequence[type[Projection]], batches: Iterable[Sequence[Event]]) -> None:
        """A function, each batch in a sandbox of its own. Every batch is to be answered as done."""
        for batch in batches:
            store: Any = EventStore(self.table, EAST, [WEST])
            queue: Any = Queue()
            engine = Engine(projections, store, self.sink)
            inbound = Inbound(self.projector(Feed(engine, QueueBacklog(LINK, queue)), queue.send))
            answer = inbound.project([record(event, number) for number, event in enumerate(batch)])
            assert answer == {"batchItemFailures": []}

    def projector(self, feed: Feed, letters: Any = None) -> Projector:
        refusals = Refusals(EAST, self.control, [EAST, LINK], lambda *_: None, lambda: 0)
        poison = Poison(self.quarantine, LINK, letters)
        return Projector(self.store, [feed], poison, refusals, wall=lambda: 1_763_914_990_000)

    def refused(self) -> dict[str, str]:
        return {key: value["reason"] for key, value in self.quarantine.records()}


class Reader:
    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.committed = batches, list[Batch]()

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def poll(self) -> list[Batch]:
        return [self.batches.pop(0)]

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


class Queue:
    name = "a queue"

    def send(self, text: str, delay: int = 0) -> None:
        pass


def record(event: Event, number: int = 0) -> dict[str, Any]:
    item = to_item(event)
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{number + 1}00"}}


def digests(sink: Sink, *projections: type[Projection]) -> dict[ViewKey, bytes]:
    return {view.id: view.digest for each in projections for view in sink.views(each.name, each.version)}


def without(region: Region, *projections: type[Projection]) -> MemorySink:
    """What these projections alone make of all events."""
    sink = MemorySink()
    engine = Engine(projections, region.store, sink)
    for batch in region.batches:
        engine.apply(batch)
    return sink


def fold(region: Region, driver: str, first: type[Projection], later: type[Projection]) -> None:
    """The first batch by one process, the others by one with the later class. The hostile one comes first and last."""
    run = region.worker if driver == "worker" else region.function
    run([first, *SOUND], region.batches[:1])
    run([later, *SOUND], region.batches[1:2])
    run([*SOUND, later], region.batches[2:])


@pytest.mark.parametrize("driver", ["worker", "function"])
@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("case", RAISES)
def test_sound_projections_are_complete_next_to_one_that_raises(
    made: Callable[[str], Sink], case: str, kind: str, driver: str
) -> None:
    region = Region(made(kind))
    fold(region, driver, *RAISES[case])
    assert digests(region.sink, *SOUND) == digests(without(region, *SOUND), *SOUND)
    assert {key.split()[0] for key in region.refused()} == {"hostile"}
    held = {event.id for batch in region.batches for event in batch}
    for key, reason in region.refused().items():
        assert key.split()[1] in held
        assert REMEDY in reason or "Keep less in it" in reason


@pytest.mark.parametrize("driver", ["worker", "function"])
@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("case", QUIET)
def test_a_view_of_another_declaration_is_folded_anew(
    made: Callable[[str], Sink], case: str, kind: str, driver: str
) -> None:
    region = Region(made(kind))
    first, later = QUIET[case]
    fold(region, driver, first, later)
    assert region.refused() == {}
    expected = digests(without(region, *SOUND, later), *SOUND, later)
    found = digests(region.sink, *SOUND, later)
    assert {key: digest for key, digest in found.items() if key in expected} == expected
    assert all(key.row and not later.rows for key in found.keys() - expected.keys())  # cells of rows that there are no more


@pytest.mark.parametrize("case", [case for case, (first, later) in QUIET.items() if first.fields != later.fields])
def test_readers_see_what_the_events_say_before_anybody_folds_a_view_anew(case: str) -> None:
    region = Region(MemorySink())
    first, later = QUIET[case]
    region.worker([first], region.batches)
    expected = without(region, later)
    if later.rows:
        for row in {view.row for view in region.sink.views("hostile") if view.row}:
            assert read_row(later, region.sink, row, region.store) == read_row(later, expected, row)
        return
    for stream in STREAMS:
        (view,) = expected.load([later.key(stream)]).values()
        query = Query(later, region.store, region.sink)
        assert (query.now(stream).value, query.now(stream).vector) == (view.value, view.vector)
        query.check(region.batches[0][0].stream, [NewEvent("landed", {"at": "X", "n": 1, "legs": []})])


class Refusing(MemorySink):
    """Raises for the hostile projection's views alone, as a store does that cannot hold them or gives back what it should
    not."""

    def __init__(self, error: Exception, of: str) -> None:
        super().__init__()
        self.error, self.of = error, of

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        if self.of == "load" and any(key.projection == "hostile" for key in keys):
            raise self.error
        return super().load(keys)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        if self.of == "save" and any(change.view.projection == "hostile" for change in changes):
            raise self.error
        return super().save(changes)


@pytest.mark.parametrize("driver", ["worker", "function"])
@pytest.mark.parametrize("of", ["load", "save"])
@pytest.mark.parametrize(
    "error", [ViewRefused("no"), TypeError("x"), KeyError("x"), ValueError("x"), RecursionError("x")], ids=repr
)
@pytest.mark.parametrize("rows", [{}, ROWS], ids=["view", "cells"])
def test_a_row_that_the_sink_cannot_take_or_give_stops_its_view_alone(
    driver: str, of: str, error: Exception, rows: Any
) -> None:
    region = Region(Refusing(error, of))
    fold(region, driver, *hostile(x=counter(landed=n), rows=rows))
    assert digests(region.sink, *SOUND) == digests(without(region, *SOUND), *SOUND)
    assert {key.split()[0] for key in region.refused()} == {"hostile"}
    assert {key.split()[1] for key in region.refused()} <= {event.id for batch in region.batches for event in batch}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("case", [case for case, (first, later) in QUIET.items() if first.fields != later.fields])
def test_a_rebuild_leaves_no_view_of_another_declaration(case: str, again: bool) -> None:
    region = Region(MemorySink())
    first, later = QUIET[case]
    region.worker([first], region.batches)
    build, failures = Rebuild(later, region.store, region.sink, Versions(MemoryControl())).run(again=again)
    assert (build.built, failures) == (True, [])
    rows = {key.row for key in digests(region.sink, later) if key.row}
    expected = without(region, later)
    if later.rows:
        assert [read_row(later, region.sink, row).value for row in sorted(rows)] == [
            read_row(later, expected, row).value for row in sorted(rows)
        ]
    wanted = digests(expected, later)
    assert {key: digest for key, digest in digests(region.sink, later).items() if key in wanted} == wanted


def test_a_reader_keeps_a_view_over_one_of_another_declaration_and_fails_for_no_sink() -> None:
    region = Region(MemorySink())
    first, later = QUIET["a counter made a register"]
    region.worker([first], region.batches)
    for sink in (region.sink, Refusing(ViewRefused("never"), "save"), Refusing(KeyError("x"), "save")):
        for stream in STREAMS:
            Query(later, region.store, sink, keep_after=1).now(stream)
    assert digests(region.sink, later) == digests(without(region, later), later)


def test_a_sink_that_does_not_answer_is_nobody_s_fault() -> None:
    region = Region(Refusing(RegionUnavailable("down"), "save"))
    engine = Engine([RAISES["a handler raises"][1], *hostile(x=counter(landed=n))[1:], *SOUND], region.store, region.sink)
    with pytest.raises(RegionUnavailable, match="down"):
        engine.apply(region.batches[0])
    assert region.refused() == {}
