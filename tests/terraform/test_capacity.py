"""A table that runs is moved to provisioned capacity as docs/operating.md says. Terraform then has nothing to change, and
leaves alone what autoscaling sets. The emulator has no autoscaling; the test sets capacities in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions

pytestmark = pytest.mark.deploy

OWN, PEER = "us-east-1", "eu-west-1"
ADDRESS = "module.region.aws_dynamodb_table.unprotected{}_events[0]"
SMALL = {"min": 5, "max": 100}
SCALED = {"billing_mode": "PROVISIONED", "read_capacity": SMALL, "write_capacity": SMALL}
TABLES = {"events": SCALED, "lanes": {"read_capacity": SMALL, "write_capacity": SMALL}, "control": SCALED}


class Region:
    """One applied region, and what an operator does to it."""

    def __init__(self, world: World) -> None:
        self._settings = world.settings(OWN)
        self._terraform = Terraform(world.logs, world.logs / "terraform.log")
        self._terraform.init([OWN])
        self.dynamodb: Any = boto3.client(
            "dynamodb",
            region_name=OWN,
            endpoint_url=self._settings.endpoint(OWN),
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def _variables(self, more: dict[str, Any]) -> dict[str, Any]:
        package = ROOT / "terraform" / "tests" / "package.zip"
        endpoints = {"endpoints": dict(self._settings.endpoints)}
        common = {"region": OWN, "peers": [PEER], "package": str(package), "protect_events": False, "emulator": endpoints}
        return {**common, **more}

    def apply(self, **more: Any) -> None:
        self._terraform.apply(self._settings, self._variables(more))

    def changes(self, **more: Any) -> list[str]:
        return self._terraform.changes(self._settings, self._variables(more))

    def move(self, source: str, target: str) -> None:
        self._terraform.move(self._settings, source, target)

    def provision(self, table: str, units: int, **more: Any) -> None:
        index = [{"Update": {"IndexName": "lanes", "ProvisionedThroughput": _units(units)}}]
        indexes = {"GlobalSecondaryIndexUpdates": index} if table == "meridian-events" else {}
        self.dynamodb.update_table(TableName=table, ProvisionedThroughput=_units(units), **indexes, **more)


def _units(units: int) -> dict[str, int]:
    return {"ReadCapacityUnits": units, "WriteCapacityUnits": units}


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with World([OWN, PEER], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
        made = Region(world)
        made.apply()
        yield made


def test_the_documented_switch_leaves_terraform_nothing_to_change(region: Region) -> None:
    assert region.changes() == []
    for table in ("meridian-events", "meridian-control"):
        region.provision(table, 50, BillingMode="PROVISIONED")
    forgotten = region.changes(tables=TABLES)
    assert f"{ADDRESS.format('')}: delete" in forgotten, "whoever forgets the move is shown what apply would destroy"
    region.move(ADDRESS.format(""), ADDRESS.format("_autoscaled"))
    assert region.changes(tables=TABLES) == []
    region.apply(tables=TABLES)
    assert region.dynamodb.describe_table(TableName="meridian-events")["Table"]["ProvisionedThroughput"] == _units(50)


def test_what_autoscaling_sets_is_left_to_it(region: Region) -> None:
    for table in ("meridian-events", "meridian-control"):
        region.provision(table, 70)
    assert region.changes(tables=TABLES) == []
    region.apply(tables=TABLES)
    described = region.dynamodb.describe_table(TableName="meridian-events")["Table"]
    assert [described["ProvisionedThroughput"], described["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"]] == [
        _units(70),
        _units(70),
    ]


def test_the_bus_goes_with_its_last_reader_and_nothing_else_does(region: Region) -> None:
    region.apply(tables=TABLES, bus={"enabled": True})
    assert region.changes(tables=TABLES, bus={"enabled": True}) == []
    assert sorted(region.changes(tables=TABLES)) == [
        "module.region.aws_cloudwatch_dashboard.region: update",
        "module.region.aws_dynamodb_kinesis_streaming_destination.bus[0]: delete",
        "module.region.aws_kinesis_stream.bus[0]: delete",
    ]
