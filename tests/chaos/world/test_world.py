"""A region can be killed with all its data, and come back empty or from a backup, as on AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.child_processes import ProcessFailed, free_ports
from chaos.world.backup import take_backup
from chaos.world.region import emulator
from chaos.world.world import World, WorldOptions
from replicator import EventStore, NewEvent, RegionUnavailable
from replicator.aws import clients
from replicator.domain.errors import InvalidConfig

pytestmark = pytest.mark.emulator
EAST, WEST = "us-east-1", "eu-west-1"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World([EAST, WEST], options=WorldOptions(workers=False, read_timeout=2.0, attempts=1)) as started:
        yield started


def _events(world: World) -> list[dict[str, Any]]:
    client: Any = clients.dynamodb(world.settings(EAST), EAST)
    items = client.scan(TableName="meridian-events", ConsistentRead=True)["Items"]
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def _described(world: World) -> Any:
    return clients.dynamodb(world.settings(EAST), EAST).describe_table(TableName="meridian-events")["Table"]


def _stream(world: World) -> list[Any]:
    streams: Any = clients.streams(world.settings(EAST), EAST)
    arn = _described(world)["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    return list(streams.get_records(ShardIterator=iterator)["Records"])


def test_a_killed_region_has_lost_everything_and_comes_back_empty_on_its_port(world: World) -> None:
    world.store(EAST).append("user/homer", NewEvent("registered", {}))
    before = _described(world)
    region = world.regions[EAST]
    region.kill()
    assert region.down
    with pytest.raises(RegionUnavailable):
        world.store(EAST).latest("user/homer")
    region.come_back_empty()
    assert not region.down
    assert _events(world) == []
    assert _described(world)["TableId"] != before["TableId"]
    assert _described(world)["LatestStreamArn"] != before["LatestStreamArn"]
    assert world.store(EAST).latest("user/homer") is None


def test_a_restored_region_has_what_the_backup_had_in_new_tables_whose_stream_begins_anew(world: World) -> None:
    # A store without the region's fence: this is about tables, not about who may write to them.
    store = EventStore(world.store(EAST)._lanes._storage, EAST, [EAST, WEST])
    for number in range(60):
        store.append(f"user/{number}", NewEvent("registered", {}), NewEvent("renamed", {"name": str(number)}))
    saved, described = _events(world), _described(world)
    backup = take_backup(world.settings(EAST))
    store.append("user/1", NewEvent("renamed", {"name": "too late"}))
    region = world.regions[EAST]
    region.kill()
    region.come_back_restored(backup)
    assert _events(world) == saved
    now = _described(world)
    assert now["TableId"] != described["TableId"]
    for field in ("KeySchema", "AttributeDefinitions", "StreamSpecification"):
        assert now.get(field) == described.get(field)
    assert [index["IndexName"] for index in now.get("GlobalSecondaryIndexes", [])] == [
        index["IndexName"] for index in described.get("GlobalSecondaryIndexes", [])
    ]
    assert _stream(world) == []
    EventStore(world.store(EAST)._lanes._storage, EAST, [EAST, WEST]).append("user/new", NewEvent("registered", {}))
    assert [record["eventName"] for record in _stream(world)] == ["INSERT"]


def test_peers_of_a_proxied_world_are_reached_over_links_and_the_own_region_directly() -> None:
    made = World([EAST, WEST], options=WorldOptions(workers=False, proxied=True))
    outside, inside = made.settings(EAST), made.inside(EAST)
    assert made.network is not None
    assert inside.endpoint(EAST) == outside.endpoint(EAST)
    assert inside.endpoint(WEST) == made.network.endpoint(EAST, WEST) != outside.endpoint(WEST)
    made.close()


def test_a_region_whose_emulator_cannot_start_says_so(world: World) -> None:
    region = world.regions[WEST]
    region.kill()
    with pytest.raises(ProcessFailed, match=f"emulator of {WEST} ended while it started"):
        region.wait_healthy()
    region.come_back_empty()


def test_a_region_elsewhere_has_tables_of_its_own_prefix_which_are_told_where_they_cannot_be_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    elsewhere = emulator(WEST, port, "dynamodb,dynamodbstreams", tmp_path)
    url = f"http://127.0.0.1:{port}"
    elsewhere.start()
    try:
        with World([WEST], options=WorldOptions(workers=False, endpoints={WEST: url}, prefix="chaos-x")) as world:
            client: Any = clients.dynamodb(world.direct(WEST), WEST)
            assert {name.rpartition("-")[0] for name in client.list_tables()["TableNames"]} == {"chaos-x"}
            with pytest.raises(InvalidConfig, match="which this run cannot start again"):
                world.regions[WEST].come_back_empty()
            elsewhere.stop()
    finally:
        elsewhere.stop()
    assert f"tables chaos-x-* are left in eu-west-1 at {url}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:1/x"])
def test_an_endpoint_that_no_proxy_can_stand_in_front_of_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot be put behind links and faults; write http://HOST:PORT"):
        World([EAST, WEST], options=WorldOptions(workers=False, faulty=True, endpoints={WEST: url}))
