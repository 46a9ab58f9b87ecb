"""The service control policy to copy: it denies administrators what docs/operating.md says, and none of Meridian's work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions
from tests.terraform.plans import ACCOUNT, ROLES, Plan, decide

pytestmark = pytest.mark.terraform

FILE = ROOT / "terraform" / "examples" / "service-control-policy.json"
POLICY: dict[str, Any] = json.loads(FILE.read_text())
STATEMENTS = {each["Sid"]: each for each in POLICY["Statement"]}
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
EAST, WEST = "us-east-1", "eu-west-1"
ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/Administrator"
DEPLOYER = f"arn:aws:iam::{ACCOUNT}:role/meridian-deploy"
TABLE = f"arn:aws:dynamodb:{EAST}:{ACCOUNT}:table/meridian-events"
FUNCTION = f"arn:aws:lambda:{EAST}:{ACCOUNT}:function:meridian-replicator"
MAPPING = f"arn:aws:lambda:{EAST}:{ACCOUNT}:event-source-mapping:1234abcd-12ab-34cd-56ef-1234567890ab"
KEY = f"arn:aws:kms:{EAST}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def may(who: str, action: str, resource: str, **more: Any) -> bool:
    """Return whether somebody who may do everything may do this under the service control policy."""
    context = {"aws:PrincipalArn": who, **{name.replace("__", ":"): value for name, value in more.items()}}
    return decide([EVERYTHING, POLICY], action, resource, more=context, who=who) == "Allow"


DENIED: list[tuple[str, str, dict[str, Any]]] = [
    ("dynamodb:DeleteTable", TABLE, {}),
    ("dynamodb:UpdateTable", TABLE, {}),
    ("dynamodb:DeleteResourcePolicy", TABLE, {}),
    ("dynamodb:PutResourcePolicy", TABLE, {}),
    ("dynamodb:UpdateContinuousBackups", TABLE.replace("events", "control"), {}),
    ("dynamodb:DeleteBackup", f"{TABLE}/backup/0123", {}),
    ("dynamodb:RestoreTableToPointInTime", TABLE, {}),
    ("dynamodb:DisableKinesisStreamingDestination", TABLE, {}),
    ("sqs:PurgeQueue", f"arn:aws:sqs:{EAST}:{ACCOUNT}:meridian-backlog-{WEST}", {}),
    ("kinesis:DeleteResourcePolicy", f"arn:aws:kinesis:{EAST}:{ACCOUNT}:stream/meridian-events", {}),
    ("lambda:UpdateFunctionCode", FUNCTION, {}),
    ("lambda:PutFunctionConcurrency", FUNCTION, {}),
    ("lambda:UpdateEventSourceMapping", MAPPING, {"lambda__FunctionArn": FUNCTION}),
    ("lambda:DeleteEventSourceMapping", MAPPING, {"lambda__FunctionArn": FUNCTION}),
    ("kms:ScheduleKeyDeletion", KEY, {"kms__ResourceAliases": ["alias/meridian", "alias/other"]}),
    ("kms:DisableKey", KEY, {"kms__ResourceAliases": ["alias/meridian"]}),
    ("kms:PutKeyPolicy", KEY, {"kms__ResourceAliases": ["alias/meridian"]}),
    ("kms:DeleteAlias", f"arn:aws:kms:{EAST}:{ACCOUNT}:alias/meridian", {}),
    ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/meridian-{EAST}-replicator", {}),
    ("iam:UpdateAssumeRolePolicy", DEPLOYER, {}),
    ("iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/meridian-{EAST}-writer", {}),
    ("cloudwatch:DeleteAlarms", f"arn:aws:cloudwatch:{EAST}:{ACCOUNT}:alarm:meridian-events-changed", {}),
    ("events:DisableRule", f"arn:aws:events:{EAST}:{ACCOUNT}:rule/meridian-heartbeat", {}),
    ("logs:DeleteLogGroup", f"arn:aws:logs:{EAST}:{ACCOUNT}:log-group:/aws/lambda/meridian-replicator", {}),
]
IMMUTABLE = [
    f"dynamodb:{name}"
    for name in (
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "BatchWriteItem",
        "PartiQLUpdate",
        "PartiQLDelete",
        "UpdateTimeToLive",
    )
]


def test_the_policy_is_within_the_size_that_organizations_allow() -> None:
    assert len(FILE.read_text()) <= 5120


def test_it_names_meridians_resources_and_denies_only() -> None:
    assert {each["Effect"] for each in POLICY["Statement"]} == {"Deny"}
    for sid, each in STATEMENTS.items():
        resources = [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]
        named = [resource for resource in resources if "meridian" in resource]
        assert named == resources or sid in ("MappingsStay", "KeyStays"), sid
    # A mapping and a key have no name: what they belong to is named.
    assert "meridian-*" in json.dumps(STATEMENTS["MappingsStay"]["Condition"])
    assert "alias/meridian" in json.dumps(STATEMENTS["KeyStays"]["Condition"])


@pytest.mark.parametrize(("action", "resource", "more"), DENIED, ids=[each[0] for each in DENIED])
def test_administrators_may_not_and_the_named_role_may(action: str, resource: str, more: dict[str, Any]) -> None:
    assert not may(ADMINISTRATOR, action, resource, **more)
    assert may(DEPLOYER, action, resource, **more)


@pytest.mark.parametrize("action", IMMUTABLE)
def test_nobody_changes_an_event_not_even_without_the_tables_policy(action: str) -> None:
    assert not may(ADMINISTRATOR, action, TABLE)
    assert not may(DEPLOYER, action, TABLE)


def test_others_resources_are_none_of_its_business() -> None:
    other = TABLE.replace("meridian", "shop")
    assert all(may(ADMINISTRATOR, action, other) for action in (*IMMUTABLE, "dynamodb:DeleteTable", "dynamodb:UpdateTable"))
    assert may(ADMINISTRATOR, "kms:ScheduleKeyDeletion", KEY, kms__ResourceAliases=["alias/shop"])
    assert may(ADMINISTRATOR, "kms:ScheduleKeyDeletion", KEY)
    shop = FUNCTION.replace("meridian", "shop")
    assert may(ADMINISTRATOR, "lambda:UpdateEventSourceMapping", MAPPING, lambda__FunctionArn=shop)


# -- Meridian's own roles ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with World([EAST], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
        terraform = Terraform(world.logs, world.logs / "terraform.log")
        terraform.init([EAST])
        variables = {
            "region": EAST,
            "peers": [WEST],
            "package": str(ROOT / "terraform" / "tests" / "package.zip"),
            "projections": ["members:Member"],
            "external": {"transformation": "directory:Directory"},
            "personal_data": {"key": "mrk-1234abcd12ab34cd56ef1234567890ab"},
            "api": {"enabled": True},
            "claims": {"optimistic": ["nickname"]},
            "fences": {"checked": ["*"]},
            "function": {"tracing": "Active"},
        }
        yield Plan(terraform.plan(world.settings(EAST), variables))


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_do_its_work(plan: Plan, role: str) -> None:
    who = f"arn:aws:iam::{ACCOUNT}:role/meridian-{EAST}-{role}"
    found = 0
    for statement in (each for policy in plan.roles[role] for each in policy["Statement"]):
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for action, resource in product(statement["Action"], resources):
            assert may(who, action, resource.replace("*", "x")), (action, resource)
            found += 1
    assert found
