"""A region of an earlier release is planned by this one: resources that moved are neither destroyed nor made again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions

pytestmark = pytest.mark.deploy

OWN, PEER = "us-east-1", "eu-west-1"
CONTROL = "module.region.aws_dynamodb_table.{}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World([OWN, PEER], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as made:
        yield made


def variables(world: World, protect: bool) -> dict[str, Any]:
    package = ROOT / "terraform" / "tests" / "package.zip"
    emulator = {"endpoints": dict(world.settings(OWN).endpoints)}
    return {"region": OWN, "peers": [PEER], "package": str(package), "protect_events": protect, "emulator": emulator}


def test_the_control_table_of_an_earlier_release_is_protected_in_place(world: World) -> None:
    settings, more = world.settings(OWN), variables(world, protect=True)
    terraform = Terraform(world.logs, world.logs / "terraform.log")
    terraform.init([OWN])
    terraform.apply(settings, more)
    assert terraform.changes(settings, more) == []

    # As 0.2 left it: one address, and no deletion protection.
    terraform.move(settings, CONTROL.format("protected_control[0]"), CONTROL.format("control"))
    terraform.move(settings, "module.region.aws_kms_alias.region[0]", "module.region.aws_kms_alias.region")
    dynamodb: Any = boto3.client(
        "dynamodb",
        region_name=OWN,
        endpoint_url=settings.endpoint(OWN),
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    dynamodb.update_table(TableName="meridian-control", DeletionProtectionEnabled=False)
    assert terraform.changes(settings, more) == [f"{CONTROL.format('protected_control[0]')}: update"]

    terraform.apply(settings, more)
    assert dynamodb.describe_table(TableName="meridian-control")["Table"]["DeletionProtectionEnabled"]
    assert terraform.changes(settings, more) == []
