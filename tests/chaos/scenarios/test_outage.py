"""What an outage costs, by what regions hold: what only the struck one had, and what of its lost data survived."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.checker.final_reads import Tables
from chaos.scenarios.outage import OLD_SECONDS, Outage
from chaos.scenarios.stage import Stage
from chaos.workload.client import Client
from chaos.world.backup import Backup, Table
from replicator import EventStore, MemoryStorage, NewEvent, StreamId
from replicator.aws.event_table import DynamoStorage
from replicator.domain.event import Event
from replicator.eventstore.event_items import to_item
from replicator.runtime.settings import Settings

pytestmark = pytest.mark.emulator
EAST, WEST = "us-east-1", "eu-west-1"
STREAM = StreamId("aircraft", "N1")


def _stage(settings: Settings, clock: Callable[[], float] = time.monotonic) -> tuple[Stage, list[Event], Any]:
    """Five acknowledged events of the east, which are stored nowhere yet."""
    region = SimpleNamespace(kill=lambda: None)
    world = SimpleNamespace(network=None, direct=settings.at, settings=settings.at, regions={EAST: region, WEST: region})
    stage = Stage((EAST, WEST), cast(Any, world), cast(Any, SimpleNamespace(say=lambda _: None)))
    stage.history.clock = clock
    stage.outage = Outage(stage, EAST, moves=True)
    store, client = EventStore(MemoryStorage(), EAST, [EAST, WEST]), Client("a", EAST, stage.history)
    events: list[Event] = []
    for row in range(5):

        def append(writes: Any) -> Any:
            stored = store.append_all(writes)
            events.extend(stored)
            return stored

        client.write([(STREAM, NewEvent("departed", {"id": f"{row}", "row": row}))], append)
    return stage, events, {region: DynamoStorage(settings, region) for region in (EAST, WEST)}


def _hex(events: list[Event]) -> set[str]:
    return {event.digest.hex() for event in events}


def _back_up(stage: Stage, settings: Settings, events: list[Event]) -> None:
    declared = {"TableName": settings.events_table}
    stage.keep_backup("first", Backup(0.0, (Table(declared, tuple(map(to_item, events)), None),)))


def test_an_event_survives_at_a_peer_in_the_backup_or_where_it_was_brought_up(emptied_settings: Settings) -> None:
    stage, events, storages = _stage(emptied_settings)
    storages[WEST].insert(events[:1])
    stage.outage.leave(WEST)
    assert (stage.outage.figures.rpo_events, stage.outage.figures.rpo_lanes) == (4, 1)
    stage.die("first")
    _back_up(stage, emptied_settings, events[1:2])
    storages[EAST].insert(events[:3])
    assert stage.survivors(EAST, [(events[4].lane.key, 5)]) == _hex(events[:3])
    assert stage.history.gone == _hex(events[3:])
    assert (stage.history.gone_events, stage.history.heads()) == (2, {events[0].lane.key: 3})


def test_what_a_peer_held_when_the_region_died_has_survived_even_if_nobody_has_it_now(emptied_settings: Settings) -> None:
    stage, events, storages = _stage(emptied_settings)
    storages[WEST].insert(events)
    stage.die("first")
    client = Tables(emptied_settings.at(WEST)).client
    key = {"pk": {"S": events[4].lane.key}, "sk": {"S": f"{5:016d}"}}
    client.delete_item(TableName=emptied_settings.events_table, Key=key)
    stage.survivors(EAST, [])
    assert stage.history.gone_events == 0  # so the checker will call it lost


def test_another_event_under_the_same_id_is_no_survivor(emptied_settings: Settings) -> None:
    stage, _, storages = _stage(emptied_settings)
    other = EventStore(storages[WEST], EAST, [EAST, WEST]).append(STREAM, NewEvent("departed", {"id": "9"}))
    stage.die("first")
    stage.outage.leave(WEST)
    assert stage.outage.figures.rpo_events == 5
    assert stage.survivors(EAST, []) == _hex(list(other))
    assert stage.history.gone_events == 5


@pytest.mark.parametrize(("copied", "missing"), [(0, 3), (2, 1), (3, 0)], ids=["stuck link", "late link", "link"])
def test_what_was_old_when_the_region_died_and_is_at_no_peer_is_counted(
    emptied_settings: Settings, copied: int, missing: int
) -> None:
    told = iter((100.0, 100.0, 101.0, 101.0, 102.0, 102.0, 103.0, 103.0, 104.0, 104.0, 102.0 + OLD_SECONDS))
    stage, events, storages = _stage(emptied_settings, lambda: next(told))  # asked for when each is called and answered
    storages[WEST].insert(events[:copied])
    _back_up(stage, emptied_settings, events)  # a backup is no excuse for a link
    stage.die("first")
    assert (stage.outage.figures.old_events, stage.outage.figures.old_missing) == (3, missing)
