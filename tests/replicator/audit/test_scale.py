"""`verify` over two regions of many events: what it reads when all is equal, and that it finds one altered byte, one missing
and one extra event among them. `make verify-scale` runs it with 300,000 events in 4,000 lanes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chaos.world.world import World, WorldOptions
from replicator.aws import clients as aws
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, NewEvent, seal
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import from_item, to_item
from replicator.ops.audit.comparison import DAMAGED, MISSING, Comparison, compare
from replicator.ops.audit.read_units import Meter
from replicator.ops.system import System
from replicator.runtime.settings import Settings
from tests.replicator.noticing import notice

EAST, WEST = "us-east-1", "eu-west-1"
EVENTS = int(os.environ.get("MERIDIAN_VERIFY_EVENTS", "60000"))
LANES = EVENTS // 75
PER_LANE = EVENTS // LANES
SAMPLE = 200


def lane(number: int) -> LaneId:
    return LaneId((EAST, WEST)[number % 2], StreamId("user", f"u{number}"))


def items() -> Iterator[list[Any]]:
    part: list[Any] = []
    for number in range(LANES):
        prev = GENESIS
        for sequence in range(1, PER_LANE + 1):
            new = NewEvent("renamed", {"n": sequence, "text": "x" * 100})
            event = seal(lane(number), sequence, Hlc(1_763_914_981_000 + sequence, 0), new, EMPTY, prev)
            prev = event.digest
            part.append({"PutRequest": {"Item": to_item(event)}})
            if len(part) == 25:
                yield part
                part = []
    if part:
        yield part


def verified(settings: Settings) -> tuple[Comparison, float, float]:
    """A comparison by a new process, what it read in read units, and how long it took."""
    meter = Meter()
    system = System.connect(settings, meter)
    began = time.monotonic()
    found = compare(system.places, system.sleep, wait=0.5, consistent=False)
    return found, meter.units, time.monotonic() - began


def reading(settings: Settings) -> float:
    """What reading every event of both regions takes in read units, by a sample of lanes."""
    meter = Meter()
    system = System.connect(settings, meter)
    for place in system.places.values():
        for number in range(SAMPLE):
            assert sum(1 for _ in place.storage.read(lane(number))) == PER_LANE
    return meter.units * LANES / SAMPLE


@pytest.mark.soak
def test_equal_regions_are_compared_by_two_reads_a_lane(capsys: pytest.CaptureFixture[str]) -> None:
    with World([EAST, WEST], options=WorldOptions(workers=False, read_timeout=60)) as world:
        settings = world.settings(EAST)
        clients: list[Any] = [aws.dynamodb(world.settings(region), region) for region in (EAST, WEST)]

        def put(part: list[Any]) -> None:
            for client in clients:
                client.batch_write_item(RequestItems={settings.events_table: part})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, items()))
        first, first_units, first_seconds = verified(settings)
        again, units, seconds = verified(settings)
        whole = reading(settings)
        for found in (first, again):
            assert (found.equal, found.events, found.lanes) == (True, EVENTS, LANES)
        with capsys.disabled():
            print(  # noqa: T201 - the figures are what this is run for
                f"\n{EVENTS:,} events in {LANES:,} lanes in each of two regions; reading both takes {whole:,.0f} units. "
                f"Without a ledger {first_units:,.0f} ({first_units / whole:.2%}), {first_seconds:.1f} s; "
                f"then {units:,.0f} ({units / whole:.3%}), {seconds:.1f} s"
            )
        assert max(first_units, units) <= 2 * LANES + 200
        assert max(first_units, units) < 0.2 * whole

        west = clients[1]

        def item(number: int, sequence: int) -> Any:
            key = {"pk": {"S": lane(number).key}, "sk": {"S": sequence_key(sequence)}}
            return west.get_item(TableName=settings.events_table, Key=key)["Item"]

        altered, gone, last = item(10, 30), item(20, 40), item(30, PER_LANE)
        text = altered["payload"]["S"].replace("x", "y", 1)
        west.put_item(TableName=settings.events_table, Item={**altered, "payload": {"S": text}})
        west.delete_item(TableName=settings.events_table, Key={"pk": gone["pk"], "sk": gone["sk"]})
        end = from_item(last)
        extra = seal(end.lane, end.sequence + 1, end.hlc, NewEvent("extra", {}), EMPTY, end.digest)
        west.put_item(TableName=settings.events_table, Item=to_item(extra))
        notice(settings.at(WEST), lane(10), lane(20))
        found, units, _ = verified(settings)
        assert sorted((f.kind, f.region, f.lane) for f in found.findings) == sorted(
            [(DAMAGED, WEST, lane(10)), (DAMAGED, WEST, lane(20)), (MISSING, EAST, lane(30))]
        )
        assert units <= 2 * LANES + 200 + 3 * PER_LANE
