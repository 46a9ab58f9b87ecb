"""One account a region: by the roles that they assume, a peer's roles may do here what they may where all is one account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions
from tests.terraform.plans import ACCOUNT, ROLES, Plan

pytestmark = pytest.mark.terraform

OWN, PEER = "us-east-1", "eu-west-1"
OTHER = "222222222222"
COPY, READ = (
    ("replicator", "catch-up", "worker"),
    ("heartbeat", "api", "projector", "projector-catch-up", "writer", "reader"),
)
Grant = tuple[str, str, str]


@pytest.fixture(scope="module")
def planned() -> Iterator[Callable[[str, bool], Plan]]:
    """The plan of a region, its peer in the same account or in another one."""
    with World([OWN, PEER], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
        terraform = Terraform(world.logs, world.logs / "terraform.log")
        terraform.init([OWN, PEER])

        def plan(region: str, apart: bool) -> Plan:
            (peer,) = {OWN, PEER} - {region}
            variables: dict[str, Any] = {
                "region": region,
                "peers": [peer],
                "package": str(ROOT / "terraform" / "tests" / "package.zip"),
                "projections": ["members:Member"],
                "api": {"enabled": True},
                "claims": {"optimistic": ["nickname"]},
                "fences": {"checked": ["*"]},
                "accounts": {region: ACCOUNT, peer: OTHER} if apart else {},
            }
            return Plan(terraform.plan(world.settings(region), variables))

        yield plan


@pytest.fixture(scope="module")
def apart(planned: Callable[[str, bool], Plan]) -> Plan:
    return planned(OWN, True)


@pytest.fixture(scope="module")
def peer_in_one_account(planned: Callable[[str, bool], Plan]) -> Plan:
    return planned(PEER, False)


def grants(plan: Plan, roles: Iterable[str], region: str) -> set[Grant]:
    """What roles may do with the tables of a region: each action and table with its condition."""
    statements = [each for role in roles for policy in plan.roles[role] for each in policy["Statement"]]
    return {
        (action, resource, json.dumps(each.get("Condition"), sort_keys=True))
        for each in statements
        for action in each["Action"]
        for resource in each["Resource"]
        if resource.startswith(f"arn:aws:dynamodb:{region}:")
    }


@pytest.mark.parametrize(("way", "roles"), [("copy", COPY), ("read", READ)])
def test_an_assumed_role_may_what_its_roles_may_in_one_account(
    apart: Plan, peer_in_one_account: Plan, way: str, roles: tuple[str, ...]
) -> None:
    expected = grants(peer_in_one_account, roles, OWN)
    assert expected
    assert grants(apart, [f"{way}-{PEER}"], OWN) == expected


@pytest.mark.parametrize("role", ROLES)
def test_nothing_of_another_account_is_named_but_the_roles_to_assume(apart: Plan, role: str) -> None:
    assert grants(apart, [role], PEER) == set()
    way = "copy" if role in COPY else "read"
    target = f"arn:aws:iam::{OTHER}:role/meridian-{PEER}-{way}-{OWN}"
    expected = "Allow" if apart.roles[role] and role in (*COPY, *READ) else "ImplicitDeny"
    assert apart.decide(role, "sts:AssumeRole", target) == expected
    (another,) = {"copy", "read"} - {way}
    assert apart.decide(role, "sts:AssumeRole", target.replace(f"-{way}-", f"-{another}-")) == "ImplicitDeny"
    assert apart.decide(role, "sts:AssumeRole", f"arn:aws:iam::{OTHER}:role/admin") == "ImplicitDeny"


@pytest.mark.parametrize(
    ("lane", "decision"), [(f"{PEER}#user#homer", "Allow"), (f"{OWN}#user#homer", "ImplicitDeny"), ("", "ImplicitDeny")]
)
def test_a_peer_copies_its_own_lanes_only(apart: Plan, lane: str, decision: str) -> None:
    table = f"arn:aws:dynamodb:{OWN}:{ACCOUNT}:table/meridian-events"
    keys = [lane] if lane else None
    assert apart.decide(f"copy-{PEER}", "dynamodb:PartiQLInsert", table, keys) == decision
    assert apart.decide(f"read-{PEER}", "dynamodb:PartiQLInsert", table, keys) == "ImplicitDeny"
