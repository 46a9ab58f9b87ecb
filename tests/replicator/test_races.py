"""Writers of two processes at one lane, on engines that name a lost race in their own ways: all that was acknowledged is
there, once and in order, and no error but Meridian's comes out."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from replicator.aws.tables import create_tables
from replicator.connect import connect_store
from replicator.domain.event import Event, NewEvent
from replicator.eventstore.store_errors import AppendContention
from replicator.runtime.settings import Settings
from tests.regions import activate

pytestmark = pytest.mark.emulator
TURNS = 15


@pytest.fixture(scope="module", params=["ministack", "dynamodb-local"])
def tables(request: pytest.FixtureRequest) -> Settings:
    if request.param == "ministack":
        settings = replace(request.getfixturevalue("emulated").settings("us-east-1"), peers=())
    else:
        settings = Settings("us-east-1", endpoints={"us-east-1": request.getfixturevalue("local_engine")})
    settings = replace(settings, prefix="races", read_timeout=30)
    create_tables(settings)
    activate(settings)
    return settings


@pytest.mark.parametrize(("events", "checked"), [(2, ()), (1, ("*",)), (2, ("user",))], ids=["two", "fenced", "two-fenced"])
def test_what_two_writers_were_told_is_in_the_lane_once(tables: Settings, events: int, checked: tuple[str, ...]) -> None:
    settings = replace(tables, fence_checked=checked)
    stream, start = f"user/{uuid.uuid4().hex}", threading.Barrier(2)

    def write(name: str) -> list[Event]:
        store, told = connect_store(settings), []
        start.wait()
        for turn in range(TURNS):
            while True:
                try:
                    told += store.append(stream, *[NewEvent("x", {"by": name, "turn": turn, "n": n}) for n in range(events)])
                except AppendContention:
                    continue
                break
        return told

    with ThreadPoolExecutor(2) as pool:
        told = [event for each in pool.map(write, ("one", "another")) for event in each]
    lane = list(connect_store(settings).read_lane(stream))  # which checks sequences and digests
    assert Counter(event.id for event in lane) == Counter(event.id for event in told)
    assert {event.digest for event in lane} == {event.digest for event in told}
    assert len(lane) == 2 * TURNS * events
