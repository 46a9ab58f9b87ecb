"""What survived a region's loss: found at a peer when it died, in the backup, or anywhere once it was brought up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chaos.drills.flights import Report
from chaos.drills.history import History
from chaos.drills.losses import OLD_SECONDS, Losses
from chaos.world.reading import Tables
from replicator import EventStore, NewEvent, StreamId
from replicator.domain.event import Event
from replicator.dynamodb import DynamoStorage
from replicator.settings import Settings

pytestmark = pytest.mark.emulator
EAST, WEST = "us-east-1", "eu-west-1"
STREAM = StreamId("aircraft", "N1")


def _losses(
    emptied_settings: Settings, clock: Callable[[], float] = time.monotonic
) -> tuple[Losses, History, tuple[Event, ...], dict[str, DynamoStorage]]:
    """Five acknowledged events of the east, which are stored nowhere yet."""
    from replicator import MemoryStorage

    reports = [Report(row, "EWR", STREAM, NewEvent("departed", {"row": row, "flight": f"UA{row}"})) for row in range(5)]
    events = EventStore(MemoryStorage(), EAST, [EAST, WEST]).append(STREAM, *(report.event for report in reports))
    history = History(clock)
    for report, event in zip(reports, events, strict=True):
        history.ok([report], [event])
    storages = {region: DynamoStorage(emptied_settings, region) for region in (EAST, WEST)}
    tables = {region: Tables(emptied_settings.at(region)) for region in (EAST, WEST)}
    return Losses(EAST, history, tables), history, events, storages


def test_an_event_survives_at_a_peer_in_the_backup_or_where_it_was_brought_up(emptied_settings: Settings) -> None:
    losses, history, events, storages = _losses(emptied_settings)
    storages[WEST].insert(events[:1])
    assert losses.missing(WEST) == {(event.lane.key, event.sequence) for event in events[1:]}
    losses.died(time.monotonic())
    losses.survive([events[1].digest])  # the backup
    storages[EAST].insert(events[:3])
    survived = losses.settle([(events[4].lane.key, 5)])
    assert survived == {event.digest for event in events[:3]}
    assert set(history.gone) == {(event.lane.key, event.sequence) for event in events[3:]}
    assert history.heads() == {events[0].lane.key: 3}


def test_what_a_peer_held_when_the_region_died_has_survived_even_if_nobody_has_it_now(emptied_settings: Settings) -> None:
    losses, history, events, storages = _losses(emptied_settings)
    storages[WEST].insert(events)
    losses.died(time.monotonic())
    client = Tables(emptied_settings.at(WEST)).client
    key = {"pk": {"S": events[4].lane.key}, "sk": {"S": f"{5:016d}"}}
    client.delete_item(TableName=emptied_settings.events_table, Key=key)
    losses.settle([])
    assert history.gone_events == 0  # so the checker will call it lost


def test_another_event_under_the_same_id_is_no_survivor(emptied_settings: Settings) -> None:
    losses, history, events, storages = _losses(emptied_settings)
    other = EventStore(storages[WEST], EAST, [EAST, WEST]).append(STREAM, NewEvent("departed", {"row": 9, "flight": "X"}))
    losses.died(time.monotonic())
    assert losses.missing(WEST) == {(event.lane.key, event.sequence) for event in events}
    assert losses.settle([]) == {other[0].digest}
    assert history.gone_events == 5


@pytest.mark.parametrize(("copied", "missing"), [(0, 3), (2, 1), (3, 0)], ids=["stuck link", "late link", "link"])
def test_what_was_old_when_the_region_died_and_is_at_no_peer_is_counted(
    emptied_settings: Settings, copied: int, missing: int
) -> None:
    times = iter((100.0, 101.0, 102.0, 103.0, 104.0))
    losses, _, events, storages = _losses(emptied_settings, lambda: next(times))
    storages[WEST].insert(events[:copied])
    losses.survive(event.digest for event in events)  # a backup is no excuse for a link
    losses.died(102.0 + OLD_SECONDS)
    assert (losses.old, losses.old_missing) == (3, missing)
