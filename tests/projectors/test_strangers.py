"""Events of a region that is none of the system's, as it is known here: nothing of them is folded and nothing is lost, and
once the region is known they are."""

from __future__ import annotations

from typing import Any

import pytest

from projectors import Projection, register
from projectors.engine import Engine
from projectors.failures import LanesWait
from projectors.sinks.memory import MemorySink
from projectors.view import ViewKey
from projectors.worker import Projector
from replicator.backlog import TableBacklog
from replicator.control import MemoryControl, Quarantine
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.event import Event, NewEvent
from replicator.items import to_item
from replicator.memory import MemoryStorage
from replicator.shards import Batch
from replicator.store import EventStore

EAST, WEST, NEW = "us-east-1", "eu-west-1", "eu-central-1"
LINK = f"{WEST}>views"


class People(Projection):
    name, stream_type = "people", "user"
    called = register(named=lambda p: p["name"])


class Reader:
    """Batches that are given to it, and those that were committed."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.committed: list[Batch] = []

    def poll(self) -> list[Batch]:
        batches, self.batches = self.batches, []
        return batches

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


class West:
    """A region's table, with an event of its own and two that a new region has copied to it."""

    def __init__(self) -> None:
        self.clock = HybridLogicalClock(lambda: 1_763_914_981_000)
        self.table, self.sink, self.control = MemoryStorage(), MemorySink(), MemoryControl()
        self.own = EventStore(self.table, WEST, [EAST, WEST], self.clock).append(
            "user/bart", NewEvent("named", {"name": "b"})
        )
        elsewhere = EventStore(MemoryStorage(), NEW, [EAST, WEST, NEW], self.clock)
        self.foreign = [elsewhere.append("user/homer", NewEvent("named", {"name": name}))[0] for name in ("h", "homer")]
        self.table.insert_each(self.foreign)
        self.reader = Reader()

    def projector(self, *regions: str) -> Projector:
        """A process that knows these regions."""
        store = EventStore(self.table, WEST, regions, self.clock)
        engine, quarantine = Engine([People], store, self.sink), Quarantine(self.control, LINK)
        reader: Any = self.reader
        return Projector(WEST, reader, store, engine, quarantine, 0.0, TableBacklog(self.control, LINK))

    def give(self, *events: Event, trimmed: bool = False) -> None:
        records = tuple(
            {"eventName": "INSERT", "dynamodb": {"Keys": {k: to_item(e)[k] for k in ("pk", "sk")}, "NewImage": to_item(e)}}
            for e in events
        )
        self.reader.batches.append(Batch("shard", records, "1", trimmed=trimmed))

    @property
    def views(self) -> dict[str, Any]:
        keys = [ViewKey("people", f"user/{name}") for name in ("bart", "homer")]
        return {key[1]: view.value["called"] for key, view in self.sink.load(keys).items()}

    @property
    def listed(self) -> list[str]:
        return [key for key, _ in Quarantine(self.control, LINK).records()]


@pytest.fixture
def west() -> West:
    return West()


def test_they_wait_as_lanes_and_their_region_is_listed_once_however_many_they_are(west: West) -> None:
    projector = west.projector(EAST, WEST)
    for event in west.foreign:
        west.give(event)
        projector.turn()
    west.give(*west.own)
    projector.turn()
    assert west.views == {"user/bart": "b"}
    assert len(west.reader.committed) == 3
    assert list(TableBacklog(west.control, LINK).page(10)) == [west.foreign[0].lane]
    assert west.listed == [f"region {NEW}"]
    ((_, record),) = Quarantine(west.control, LINK).records()
    assert (
        "eu-central-1 is no region of this system as it is known here (eu-west-1, us-east-1); add it to the peers"
        in (record["reason"])
    )


def test_a_process_that_knows_the_region_folds_what_waited_and_lists_it_no_more(west: West) -> None:
    west.give(*west.foreign, *west.own)
    west.projector(EAST, WEST).turn()
    knowing = west.projector(EAST, WEST, NEW)
    knowing.turn()
    assert west.views == {"user/bart": "b", "user/homer": "homer"}
    assert TableBacklog(west.control, LINK).page(10) == {}
    assert west.listed == []


def test_comparing_all_lanes_folds_nothing_of_them_either(west: West) -> None:
    projector = west.projector(EAST, WEST)
    west.give(trimmed=True)
    projector.turn()
    assert west.views == {"user/bart": "b"}
    assert list(TableBacklog(west.control, LINK).page(10)) == [west.foreign[0].lane]


def test_an_engine_says_what_to_do_about_them(west: West) -> None:
    engine = Engine([People], EventStore(west.table, WEST, [EAST, WEST], west.clock), west.sink)
    with pytest.raises(LanesWait, match="if not, somebody forged events") as caught:
        engine.apply([*west.foreign, *west.own])
    assert (list(caught.value.lanes), list(caught.value.strangers)) == ([west.foreign[0].lane], [NEW])
    assert caught.value.lanes[west.foreign[0].lane] == (1, 2)
    assert west.views == {"user/bart": "b"}
