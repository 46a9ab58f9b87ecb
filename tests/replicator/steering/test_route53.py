"""Weighted records of a real zone (ministack's Route 53): moved in one batch, found again by whoever runs it next."""

from __future__ import annotations

import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chaos.child_processes import Process
from chaos.world.world import free_ports
from replicator.ops.steering import SteeringFailed, read_steering
from replicator.ops.steering.route53 import Route53
from tests.processes import HANGING_SECONDS, comes_back
from tests.replicator.memories import Killed

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
NAME = "www.example.com"
NOTES = f"_meridian.{NAME}."
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an emulator that has Route 53 and nothing else."""
    logs, (port,) = tmp_path_factory.mktemp("route53"), free_ports(1)
    environment = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "route53",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(logs),
    }
    process = Process("Route 53", [sys.executable, "-m", "ministack"], environment, logs / "emulator.log")
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        client = boto3.client("route53", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **KEYS)
        end = time.monotonic() + HANGING_SECONDS
        while True:
            try:
                client.list_hosted_zones()
                break
            except (BotoCoreError, ClientError):
                if not process.running or time.monotonic() > end:
                    raise process.failure("did not answer") from None
                time.sleep(0.1)
        yield url
    finally:
        process.stop()


class Zone:
    """A hosted zone of its own."""

    def __init__(self, url: str) -> None:
        self.client: Any = boto3.client("route53", endpoint_url=url, **KEYS)
        answer = self.client.create_hosted_zone(Name="example.com", CallerReference=uuid.uuid4().hex)
        self.id = answer["HostedZone"]["Id"].removeprefix("/hostedzone/")

    def steering(self, kind: str | None = None, client: Any = None) -> Route53:
        return Route53(self.id, NAME, kind, client or self.client, seconds=20, pause=0.05)

    def put(self, *records: dict[str, Any]) -> None:
        changes = [{"Action": "UPSERT", "ResourceRecordSet": record} for record in records]
        self.client.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch={"Changes": changes})

    def records(self) -> list[Any]:
        pages = self.client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=self.id)
        found = [record for page in pages for record in page["ResourceRecordSets"]]
        return [record for record in found if record["Type"] not in ("NS", "SOA")]

    def weights(self) -> dict[str, int]:
        found = [record for record in self.records() if record["Name"] == f"{NAME}." and "Weight" in record]
        return {f"{record['SetIdentifier']} {record['Type']}": record["Weight"] for record in found}

    def notes(self) -> list[str]:
        return [
            entry["Value"] for record in self.records() if record["Name"] == NOTES for entry in record["ResourceRecords"]
        ]


def weighted(region: str, weight: int, kind: str = "A", value: str = "192.0.2.1", name: str = NAME) -> dict[str, Any]:
    said = {"Name": name, "Type": kind, "SetIdentifier": region, "Weight": weight}
    return {**said, "TTL": 30, "ResourceRecords": [{"Value": value}]}


def alias(region: str, weight: int) -> dict[str, Any]:
    target = {"HostedZoneId": "Z35SXDOTRQ7X7K", "DNSName": f"lb.{region}.example.net.", "EvaluateTargetHealth": True}
    return {"Name": NAME, "Type": "A", "SetIdentifier": region, "Weight": weight, "AliasTarget": target}


@pytest.fixture
def zone(emulator: str) -> Zone:
    return Zone(emulator)


def test_away_and_back_in_an_active_active_zone(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 20, value="192.0.2.2"), weighted(SOUTH, 10, value="192.0.2.3"))
    before = zone.records()
    steering = zone.steering()
    assert steering.away(EAST, WEST) == (
        "www.example.com changed us-east-1 A from 70 to 0; resolvers may keep old answers for 30 s"
    )
    assert zone.weights() == {f"{EAST} A": 0, f"{WEST} A": 20, f"{SOUTH} A": 10}
    assert zone.notes() == [f'"away={EAST} type=A region={EAST} weight=70"']
    assert "us-east-1 A from 0 to 70" in steering.back(EAST)
    assert zone.records() == before


def test_both_verbs_can_be_repeated_by_another_process(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    before = zone.records()
    zone.steering().away(EAST, WEST)
    away = zone.records()
    assert zone.steering().away(EAST, WEST) == (
        "www.example.com is as it was left: eu-west-1 A 30, us-east-1 A 0; resolvers may keep old answers for 30 s"
    )
    assert zone.records() == away
    for _ in range(2):
        zone.steering().back(EAST)
        assert zone.records() == before


@pytest.mark.parametrize(
    ("kind", "records", "away"),
    [
        pytest.param(
            None, [weighted(EAST, 100), weighted(WEST, 0)], {f"{EAST} A": 0, f"{WEST} A": 100}, id="a stand-by takes over"
        ),
        pytest.param(
            None,
            [weighted(region, *more) for region in (EAST, WEST) for more in ((5,), (6, "AAAA", "2001:db8::1"))],
            {f"{EAST} A": 0, f"{EAST} AAAA": 0, f"{WEST} A": 5, f"{WEST} AAAA": 6},
            id="all types of the name move together",
        ),
        pytest.param(
            "CNAME",
            [weighted(region, 5, "CNAME", f"{region}.example.net") for region in (EAST, WEST)],
            {f"{EAST} CNAME": 0, f"{WEST} CNAME": 5},
            id="CNAMEs",
        ),
    ],
)
def test_writers_go_to_the_other_region_and_back(
    zone: Zone, kind: str | None, records: list[dict[str, Any]], away: dict[str, int]
) -> None:
    zone.put(*records)
    before = zone.records()
    zone.steering(kind).away(EAST, WEST)
    assert zone.weights() == away
    zone.steering().back(EAST)
    assert zone.records() == before


def test_who_is_sent_on_to_another_leaves_nothing_with_the_first(zone: Zone) -> None:
    zone.put(weighted(EAST, 100), weighted(WEST, 0), weighted(SOUTH, 0))
    before = zone.records()
    zone.steering().away(EAST, WEST)
    client = Interrupted(zone.client)
    assert zone.steering(client=client).away(EAST, SOUTH) == (
        "www.example.com changed ap-southeast-2 A from 0 to 100, eu-west-1 A from 100 to 0; "
        "resolvers may keep old answers for 30 s"
    )
    assert client.changes == 1
    assert zone.weights() == {f"{EAST} A": 0, f"{WEST} A": 0, f"{SOUTH} A": 100}
    away = zone.records()
    zone.steering().away(EAST, SOUTH)
    assert zone.records() == away
    zone.steering().back(EAST)
    assert zone.records() == before


def test_one_type_alone_moves_where_it_is_named(zone: Zone) -> None:
    zone.put(*(weighted(region, 5) for region in (EAST, WEST)))
    zone.put(weighted(EAST, 6, "AAAA", "2001:db8::1"))
    zone.steering("A").away(EAST, WEST)
    assert zone.weights() == {f"{EAST} A": 0, f"{EAST} AAAA": 6, f"{WEST} A": 5}


def test_aliases_keep_their_targets(zone: Zone) -> None:
    zone.put(alias(EAST, 10), alias(WEST, 10))
    before = zone.records()
    zone.steering().away(EAST, WEST)
    moved = next(record for record in zone.records() if record["SetIdentifier"] == EAST)
    assert moved["Weight"] == 0
    assert moved["AliasTarget"] == alias(EAST, 0)["AliasTarget"]
    zone.steering().back(EAST)
    assert zone.records() == before


def test_other_records_and_other_names_stay_as_they_are(zone: Zone) -> None:
    others = [
        weighted(EAST, 9, name="api.www.example.com"),
        weighted(EAST, 9, name="www2.example.com"),
        {"Name": NAME, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"v=spf1 -all"'}]},
    ]
    zone.put(weighted(EAST, 1), weighted(WEST, 1), *others)
    kept = [record for record in zone.records() if record["Name"] != f"{NAME}." or record["Type"] == "TXT"]
    zone.steering().away(EAST, WEST)
    assert [record for record in zone.records() if record in kept] == kept


def test_a_region_that_writers_are_sent_to_is_no_longer_away(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    before = zone.weights()
    zone.steering().away(EAST, WEST)
    zone.steering().away(WEST, EAST)
    assert zone.weights() == {f"{EAST} A": 70, f"{WEST} A": 0}
    zone.steering().back(WEST)
    assert zone.weights() == before
    assert zone.notes() == []


def test_a_plan_says_what_would_change_and_changes_nothing(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 0))
    before = zone.records()
    steering = zone.steering()
    assert steering.plan(EAST, WEST) == "www.example.com would change: eu-west-1 A from 0 to 70, us-east-1 A from 70 to 0"
    assert steering.plan(EAST, None) == "www.example.com would stay as it is"
    assert steering.plan(EAST, SOUTH).startswith("would fail at www.example.com as it is now: zone")
    assert zone.records() == before


class Interrupted:
    """A client that stops, or lets somebody else do something, before or after the change is made."""

    def __init__(
        self, client: Any, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self._before, self._after = client, before, after
        self.changes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def change_resource_record_sets(self, **request: Any) -> Any:
        self.changes += 1
        self._before()
        answer = self._client.change_resource_record_sets(**request)
        self._after()
        return answer


def _die() -> None:
    raise Killed


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_was_killed_around_the_change_ends_in_the_same_place(zone: Zone, moment: str) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 0))
    at_first = zone.records()
    for verb in (lambda steering: steering.away(EAST, WEST), lambda steering: steering.back(EAST)):
        with pytest.raises(Killed):
            verb(zone.steering(client=Interrupted(zone.client, **{moment: _die})))
        verb(zone.steering())
        assert zone.weights()[f"{EAST} A"] == (70 if zone.records() == at_first else 0)
    assert zone.records() == at_first


def test_whoever_changes_a_record_in_between_is_not_overwritten(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    somebody: list[Callable[[], None]] = [lambda: zone.put(weighted(EAST, 50, value="192.0.2.9"))]
    client = Interrupted(zone.client, before=lambda: somebody.pop()() if somebody else None)
    zone.steering(client=client).away(EAST, WEST)
    assert client.changes == 2
    assert zone.notes() == [f'"away={EAST} type=A region={EAST} weight=50"']
    zone.steering().back(EAST)
    (record,) = [record for record in zone.records() if record["SetIdentifier"] == EAST]
    assert (record["Weight"], record["ResourceRecords"]) == (50, [{"Value": "192.0.2.9"}])


def test_two_runs_at_once_keep_both_regions_weights(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 20), weighted(SOUTH, 10))
    before = zone.records()
    other: list[Callable[[], object]] = [lambda: zone.steering().away(WEST, SOUTH)]
    client = Interrupted(zone.client, before=lambda: None if not other else bool(other.pop()()) and None)
    zone.steering(client=client).away(EAST, SOUTH)
    assert zone.weights() == {f"{EAST} A": 0, f"{WEST} A": 0, f"{SOUTH} A": 10}
    zone.steering().back(WEST)
    zone.steering().back(EAST)
    assert zone.records() == before


def test_somebody_who_never_stops_is_reported(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    weights = iter(range(1, 100))
    client = Interrupted(zone.client, before=lambda: zone.put(weighted(EAST, next(weights))))
    with pytest.raises(SteeringFailed, match=r"Route 53 refused the change of www\.example\.com .*run this again"):
        zone.steering(client=client).away(EAST, WEST)
    assert client.changes == 5
    assert zone.notes() == []


class Pending:
    """A client whose changes never reach every server."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_change(self, **request: Any) -> Any:
        return {"ChangeInfo": {"Id": request["Id"], "Status": "PENDING"}}


def test_waiting_for_every_server_is_bounded_and_a_repetition_waits_again(zone: Zone) -> None:
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    slow = Route53(zone.id, NAME, None, Pending(zone.client), seconds=0.2, pause=0.05)
    for _ in range(2):
        with pytest.raises(SteeringFailed, match="not all servers of Route 53 have them; see `aws route53 get-change --id"):
            slow.away(EAST, WEST)
    assert zone.weights() == {f"{EAST} A": 0, f"{WEST} A": 30}
    zone.steering().away(EAST, WEST)


def test_records_that_are_not_there_are_named(zone: Zone) -> None:
    with pytest.raises(SteeringFailed, match=r"has no weighted record www.example.com A with SetIdentifier us-east-1"):
        zone.steering().away(EAST, WEST)
    zone.put(weighted(EAST, 1), weighted(WEST, 1), weighted(EAST, 1, "AAAA", "2001:db8::1"))
    with pytest.raises(
        SteeringFailed, match=r"has no weighted record www.example.com AAAA with SetIdentifier eu-west-1; make"
    ):
        zone.steering().away(EAST, WEST)
    assert zone.weights()[f"{EAST} A"] == 1


def test_notes_of_somebody_else_are_named_and_left_alone(zone: Zone) -> None:
    zone.put(weighted(EAST, 1), weighted(WEST, 1))
    zone.put({"Name": NOTES, "Type": "TXT", "TTL": 60, "ResourceRecords": [{"Value": '"hello"'}]})
    before = zone.records()
    with pytest.raises(SteeringFailed, match='"hello", which Meridian did not write; remove that value'):
        zone.steering().away(EAST, WEST)
    assert zone.records() == before


def test_a_zone_that_is_not_there_is_named(zone: Zone) -> None:
    with pytest.raises(SteeringFailed, match=r"in zone Z0MISSING: .*NoSuchHostedZone.* Correct MERIDIAN_STEERING"):
        Route53("Z0MISSING", NAME, None, zone.client).away(EAST, WEST)


def test_no_answer_is_told_from_a_refusal() -> None:
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    client = boto3.client("route53", endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}", config=config, **KEYS)
    with pytest.raises(
        SteeringFailed, match=r"Route 53 does not answer for www.example.com: .*Nothing was changed by that; run this again"
    ):
        Route53("Z1", NAME, None, client).away(EAST, WEST)


def test_a_plan_does_not_wait_for_a_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("ENDPOINT_URL_ROUTE_53", url)):
            monkeypatch.setenv(f"AWS_{name}", value)
        steering = read_steering({"MERIDIAN_STEERING": f"route53:Z1/{NAME}"})
        told = comes_back(lambda: steering.plan(EAST, WEST))
        assert "would fail at www.example.com as it is now: Route 53 does not answer" in told


def test_the_setting_alone_leads_to_the_zone(zone: Zone, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("ENDPOINT_URL_ROUTE_53", emulator)):
        monkeypatch.setenv(f"AWS_{name}", value)
    zone.put(weighted(EAST, 70), weighted(WEST, 30))
    steering = read_steering({"MERIDIAN_STEERING": f"route53:{zone.id}/{NAME}"})
    assert "us-east-1 A from 70 to 0" in steering.plan(EAST, WEST)


def test_more_records_than_a_page_holds_are_all_read(zone: Zone) -> None:
    regions = [f"us-east-{number}" for number in range(1, 100)] + [f"eu-west-{number}" for number in range(1, 100)]
    regions += [f"eu-south-{number}" for number in range(1, 100)] + [f"af-south-{number}" for number in range(1, 20)]
    zone.put(*(weighted(region, 1) for region in regions))
    zone.steering().away("us-east-99", "af-south-1")
    assert len([region for region, weight in zone.weights().items() if weight == 0]) <= 1
    assert zone.notes() == ['"away=us-east-99 type=A region=us-east-99 weight=1"']
