"""Every documented command is run in a system of three regions, and what it sends is evaluated by the planned policies.

The policies of a command's row in docs/operating.md must allow all requests that it sends: the tests of the policies
themselves, by hand-written requests, are in test_policies.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions
from replicator.aws import clients
from replicator.runtime.settings import Settings
from tests.terraform.iam_requests import Mapper, Need
from tests.terraform.plans import ACCOUNT, Plan, decide
from tests.terraform.recorder import Recorder, recording
from tests.terraform.rights import ADMINISTRATORS, EMULATOR, EVERYWHERE, Command, commands, rows
from tests.terraform.scenes import SCENES
from tests.terraform.stage import EAST, REGIONS, Stage

pytestmark = pytest.mark.terraform

Policies = list[dict[str, Any]]
ROWS = {row.command: row for row in rows()}
COMMANDS = commands()
NAMES = [" ".join(command) for command in COMMANDS]
GRANTED = [command for command in COMMANDS if ROWS[command].policies != (ADMINISTRATORS,)]
NARROWER = {"oncall": ("operator", "reader"), "operator": ("reader",), "writer": ("reader",), "worker": ("oncall", "writer")}
"""Policies that must not suffice for a row that names this one."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One emulator, which has the services of all regions."""
    with World([EAST], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as made:
        yield made


@pytest.fixture(scope="module")
def settings(world: World) -> Settings:
    """Settings of us-east-1 and two peers at the emulator, with a KMS key that each of them has."""
    own = world.settings(EAST)
    peers = tuple(region for region in REGIONS if region != EAST)
    made = replace(own, peers=peers, endpoints=dict.fromkeys(REGIONS, str(own.endpoint(EAST))), read_timeout=30.0)
    kms = clients.kms(made, EAST)
    key = kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    for region in peers:
        kms.replicate_key(KeyId=key, ReplicaRegion=region)
    return replace(made, personal_key=key)


@pytest.fixture(scope="module")
def recorder(settings: Settings) -> Iterator[Recorder]:
    at = urlsplit(str(settings.endpoint(EAST)))
    with recording(str(at.hostname), int(at.port or 0)) as made:
        yield made


@pytest.fixture(scope="module")
def planning(world: World, settings: Settings) -> Iterator[dict[str, Future[Plan]]]:
    """Plans of every region, which are made while commands run."""

    def variables(region: str) -> dict[str, Any]:
        return {
            "region": region,
            "peers": [peer for peer in REGIONS if peer != region],
            "package": str(ROOT / "terraform" / "tests" / "package.zip"),
            "projections": ["members:Member"],
            "external": {"transformation": "directory:Directory"},
            "personal_data": {"key": settings.personal_key},
            "api": {"enabled": True},
            "copies": {"*": 1},
            "protect_events": False,
        }

    terraform = Terraform(world.logs, world.logs / "terraform.log")

    def init() -> None:
        terraform.init(REGIONS)

    def plan(region: str) -> Plan:
        ready.result()
        return Plan(terraform.plan(settings.at(region), variables(region)))

    with ThreadPoolExecutor(2) as pool:
        ready = pool.submit(init)
        yield {region: pool.submit(plan, region) for region in REGIONS}


@pytest.fixture(scope="module")
def plans(planning: dict[str, Future[Plan]]) -> dict[str, Plan]:
    return {region: plan.result() for region, plan in planning.items()}


@pytest.fixture(scope="module")
def played(
    settings: Settings, recorder: Recorder, planning: dict[str, Future[Plan]]
) -> Callable[[Command], tuple[int, list[Need]]]:
    """Plays a command's scene, once. Returns how many requests the command sent, and what they need."""

    @cache
    def play(command: Command) -> tuple[int, list[Need]]:
        recorder.take()
        stage = Stage(settings, recorder)
        SCENES[command](stage)
        emulator = ROWS[command].of == EMULATOR
        return len(stage.exchanges), [] if emulator else Mapper(stage.settings.prefix).needs(stage.exchanges)

    return play


def attached(plans: dict[str, Plan], roles: Sequence[str], regions: Sequence[str]) -> Policies:
    """The policies of these roles in these regions, as one identity has them."""
    return [policy for region in regions for role in roles for policy in plans[region].roles[role]]


def denied(needs: Sequence[Need], policies: Policies) -> list[str]:
    """Return what these policies do not allow."""
    return [str(need) for need in needs if not allows(need, policies)]


def allows(need: Need, policies: Policies) -> bool:
    keys = None if need.keys is None else list(need.keys)
    return decide(policies, need.action, need.resource, keys, need.more) == "Allow"


def without(need: Need, policies: Policies) -> Policies:
    """Return the policies without the statements that allow this."""
    return [
        {
            **policy,
            "Statement": [each for each in policy["Statement"] if not allows(need, [{**policy, "Statement": [each]}])],
        }
        for policy in policies
    ]


def regions_of(command: Command) -> Sequence[str]:
    return REGIONS if ROWS[command].of == EVERYWHERE else (EAST,)


Play = Callable[[Command], tuple[int, list[Need]]]


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_the_policies_of_its_row_allow_all_that_a_command_sends(
    played: Play, plans: dict[str, Plan], command: Command
) -> None:
    requests, needs = played(command)
    assert requests > 0, "nothing was recorded"
    row = ROWS[command]
    if row.policies == (ADMINISTRATORS,):
        return
    assert needs
    policies = attached(plans, row.roles, regions_of(command))
    missing = denied(needs, policies)
    with_them = f"with the {' and '.join(row.policies)} policy of {row.of}"
    assert not missing, f"`{' '.join(command)}` is denied {with_them}:\n" + "\n".join(missing)
    for need in needs:
        assert not allows(need, without(need, policies)), f"allowed whatever the statements say: {need}"
        assert plans[need.region].table_says(need.action, need.resource) == "Allow", f"the events table denies it: {need}"


def test_requests_of_every_kind_of_client_are_recorded(played: Play) -> None:
    """Meridian's own wire inserts events; boto3 describes tables and inserts views; PynamoDB creates tables at emulators."""
    _, needs = played(("replicator", "append"))
    assert {"PartiQLInsert", "ConditionCheckItem", "DescribeTable"} <= {need.action.partition(":")[2] for need in needs}
    _, needs = played(("projectors", "rebuild"))
    assert {"dynamodb:PartiQLInsert", "dynamodb:PutItem", "kms:Decrypt"} <= {need.action for need in needs}
    assert played(("replicator", "init"))[0] > 3


@pytest.mark.parametrize("command", GRANTED, ids=[" ".join(command) for command in GRANTED])
def test_a_narrower_policy_does_not_suffice(played: Play, plans: dict[str, Plan], command: Command) -> None:
    """Nor do the policies of one region for a command that needs those of every region."""
    _, needs = played(command)
    row = ROWS[command]
    for role in row.roles:
        others = [other for other in row.roles if other != role]
        for narrower in NARROWER.get(role, ()):
            assert denied(needs, attached(plans, [*others, narrower], REGIONS)), f"{narrower} suffices"
    if row.of == EVERYWHERE:
        assert denied(needs, attached(plans, row.roles, [EAST])), "one region's policy suffices"


@pytest.mark.parametrize("command", GRANTED, ids=[" ".join(command) for command in GRANTED])
def test_whoever_is_on_call_needs_no_other_policy(played: Play, plans: dict[str, Plan], command: Command) -> None:
    if not {"writer", "worker"} & set(ROWS[command].policies):
        assert denied(played(command)[1], attached(plans, ["oncall"], regions_of(command))) == []


@pytest.mark.parametrize("command", [("projectors", "conflicts"), ("projectors", "replay")], ids=" ".join)
def test_without_personal_data_a_reader_sees_conflicts_and_replays(
    played: Play, plans: dict[str, Plan], command: Command
) -> None:
    found = denied(played(command)[1], attached(plans, ["reader"], [EAST]))
    assert found
    assert all("table/meridian-keys" in each or each.startswith("kms:Decrypt") for each in found)


def test_the_on_call_policy_of_a_region_forgets_in_no_other_region(played: Play, plans: dict[str, Plan]) -> None:
    """In its own it destroys the keys of a forgotten subject, as a projector does when it meets the event."""
    found = denied(played(("replicator", "forget"))[1], attached(plans, ["oncall"], [EAST]))
    assert any(each.startswith("dynamodb:PutItem") and "table/meridian-keys" in each for each in found)


def test_the_on_call_policy_has_no_right_that_no_command_uses(played: Play, plans: dict[str, Plan]) -> None:
    """Every action of every statement that the operators' policy does not have is needed by some command."""
    needs = [need for command in GRANTED for need in played(command)[1]]
    (policy,), (operators,) = plans[EAST].roles["oncall"], plans[EAST].roles["operator"]
    unused = [
        f"{statement['Sid']}: {action}"
        for statement in policy["Statement"]
        if statement not in operators["Statement"]
        for action in statement["Action"]
        if not any(need.action == action and allows(need, [{**policy, "Statement": [statement]}]) for need in needs)
    ]
    assert unused == []


@pytest.mark.parametrize("role", ["oncall", "operator", "reader", "writer"])
@pytest.mark.parametrize("action", ["CreateTable", "DeleteTable", "UpdateTable", "PutResourcePolicy", "GetRecords"])
def test_what_administrators_and_workers_do_no_person_may(plans: dict[str, Plan], role: str, action: str) -> None:
    arn = f"arn:aws:dynamodb:{EAST}:{ACCOUNT}:table/meridian-events{'/stream/2026' if action == 'GetRecords' else ''}"
    assert decide(plans[EAST].roles[role], f"dynamodb:{action}", arn) == "ImplicitDeny"
