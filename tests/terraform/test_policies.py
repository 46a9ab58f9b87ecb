"""Who may do what, read from the plan and put to requests that must and must not pass.

What ministack's server enforces (`AUTH=true`) is asked of the server itself, which does not look at `dynamodb:LeadingKeys`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chaos.world.terraform import SERVICES, Terraform
from chaos.world.world import World, WorldOptions
from replicator.domain.names import sequence_key
from tests.terraform.plans import ACCOUNT, FUNCTIONS, ROLES, Plan, decide

pytestmark = pytest.mark.deploy

HERE = Path(__file__).parent
OWN, PEER, STRANGER = "us-east-1", "eu-west-1", "sa-east-1"
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete")
APPEND = ("writer", "api", "heartbeat")
WORK = ("replicator", "catch-up", "worker")
"""Who copies to peers."""
OPERATE = ("operator", "oncall")
"""Roles of people who move and repair regions."""
CHANGES = tuple(f"dynamodb:{name}" for name in (*WRITES, "UpdateTimeToLive") if name != "PartiQLInsert")


KEY = "mrk-1234abcd12ab34cd56ef1234567890ab"


def events(region: str, prefix: str = "meridian") -> str:
    return f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{prefix}-events"


def table(name: str, region: str = OWN) -> str:
    return f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/meridian-{name}"


def lanes(region: str = OWN) -> str:
    return f"{events(region)}/index/lanes"


def stream(name: str, region: str = OWN) -> str:
    return f"arn:aws:kinesis:{region}:{ACCOUNT}:stream/meridian-{name}"


def variables(emulator: Mapping[str, Any] | None) -> dict[str, Any]:
    package = HERE.parent.parent / "terraform" / "tests" / "package.zip"
    return {
        "region": OWN,
        "peers": [PEER, "ap-southeast-2"],
        "package": str(package),
        "projections": ["members:Member"],
        "writer_principals": [f"arn:aws:iam::{ACCOUNT}:root"],
        "external": {"transformation": "directory:Directory"},
        "personal_data": {"key": KEY},
        "api": {"enabled": True},
        "protect_events": False,
        "emulator": emulator,
    }


@pytest.fixture(scope="module")
def guarded() -> Iterator[World]:
    """One region whose emulator checks who may do what."""
    before = os.environ.get("AUTH")
    os.environ["AUTH"] = "true"
    try:
        with World([OWN], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
            yield world
    finally:
        del os.environ["AUTH"]
        if before is not None:
            os.environ["AUTH"] = before


@pytest.fixture(scope="module")
def terraform(guarded: World) -> Terraform:
    made = Terraform(guarded.logs, guarded.logs / "terraform.log")
    made.init([OWN])
    return made


@pytest.fixture(scope="module")
def plan(guarded: World, terraform: Terraform) -> Plan:
    return Plan(terraform.plan(guarded.settings(OWN), variables(None)))


def test_every_role_has_its_policy_and_the_table_one_of_its_own(plan: Plan) -> None:
    assert {role: len(policies) for role, policies in plan.roles.items()} == dict.fromkeys(ROLES, 1)
    assert plan.own["Statement"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("region", [OWN, PEER, "ap-southeast-2", STRANGER])
def test_no_role_may_change_or_remove_an_event_anywhere(plan: Plan, role: str, region: str) -> None:
    lanes = (None, [f"{OWN}#user#homer"], [f"{PEER}#user#homer"])
    decisions = {plan.decide(role, action, events(region), keys) for action in CHANGES for keys in lanes}
    assert "Allow" not in decisions


@pytest.mark.parametrize("action", CHANGES)
def test_the_table_itself_denies_everybody_to_change_an_event(plan: Plan, action: str) -> None:
    assert plan.table_says(action, events(OWN)) == "Deny"


@pytest.mark.parametrize("action", ["dynamodb:PartiQLInsert", "dynamodb:Query", "dynamodb:GetItem", "dynamodb:BatchGetItem"])
def test_the_table_denies_nobody_to_add_and_to_read(plan: Plan, action: str) -> None:
    assert plan.table_says(action, events(OWN)) == "Allow"


KEYS = {
    "its own lane": ([f"{OWN}#user#homer"], "Allow"),
    "several own lanes": ([f"{OWN}#user#homer", f"{OWN}#user#marge"], "Allow"),
    "a peer's lane": ([f"{PEER}#user#homer"], "ImplicitDeny"),
    "own and foreign lanes together": ([f"{OWN}#user#homer", f"{PEER}#user#homer"], "ImplicitDeny"),
    "a region whose name goes on": ([f"{OWN}0#user#homer"], "ImplicitDeny"),
    "another case": ([f"{OWN.upper()}#user#homer"], "ImplicitDeny"),
    "no key at all": (None, "ImplicitDeny"),
}


@pytest.mark.parametrize(("keys", "decision"), KEYS.values(), ids=KEYS)
@pytest.mark.parametrize(
    ("role", "region"),
    [
        *((role, OWN) for role in APPEND),
        *((role, peer) for role in ("replicator", "catch-up") for peer in (PEER, "ap-southeast-2")),
    ],
)
def test_events_are_added_under_the_own_prefix_only(
    plan: Plan, role: str, region: str, keys: list[str] | None, decision: str
) -> None:
    assert plan.decide(role, "dynamodb:PartiQLInsert", events(region), keys) == decision


def test_the_condition_is_what_decides(plan: Plan) -> None:
    """The evaluator is not blind: without its condition the same policy lets a foreign lane through."""
    (policy,) = json.loads(json.dumps(plan.roles["writer"]))
    for statement in policy["Statement"]:
        statement.pop("Condition", None)
    assert decide([policy], "dynamodb:PartiQLInsert", events(OWN), [f"{PEER}#user#homer"]) == "Allow"


@pytest.mark.parametrize(
    ("role", "region"),
    [
        *((role, OWN) for role in ROLES if role not in (*APPEND, *OPERATE, "worker")),
        *((role, region) for role in OPERATE for region in (PEER, STRANGER)),
        *(("writer", region) for region in (PEER, STRANGER)),
        *((role, STRANGER) for role in FUNCTIONS),
        *((role, PEER) for role in ROLES if role not in WORK),
    ],
)
def test_nobody_else_adds_events_and_nobody_elsewhere(plan: Plan, role: str, region: str) -> None:
    assert plan.decide(role, "dynamodb:PartiQLInsert", events(region), [f"{OWN}#user#homer"]) == "ImplicitDeny"


@pytest.mark.parametrize("role", OPERATE)
def test_an_operator_is_no_third_reader_of_the_stream(plan: Plan, role: str) -> None:
    assert plan.decide(role, "dynamodb:GetRecords", f"{events(OWN)}/stream/2026") == "ImplicitDeny"


@pytest.mark.parametrize("role", OPERATE)
@pytest.mark.parametrize("keys", [f"{OWN}#user#homer", f"{PEER}#user#homer", f"{STRANGER}#user#homer"])
def test_an_operator_brings_back_events_of_any_region(plan: Plan, role: str, keys: str) -> None:
    assert plan.decide(role, "dynamodb:PartiQLInsert", events(OWN), [keys]) == "Allow"


BEGINS = {
    "a role": (["role"], "Allow"),
    "a fence": (["fence"], "Allow"),
    "a part of it": (["fence#a"], "Allow"),
    "both": (["role", "fence"], "Allow"),
    "more than that": (["role", "checkpoint#replicator"], "ImplicitDeny"),
    "what only begins alike": (["role#2"], "ImplicitDeny"),
    "another case": (["Role"], "ImplicitDeny"),
    "homes": (["homes"], "ImplicitDeny"),
    "quarantine": ([f"quarantine#{PEER}>{OWN}"], "ImplicitDeny"),
    "no key at all": (None, "ImplicitDeny"),
}


@pytest.mark.parametrize(("keys", "decision"), BEGINS.values(), ids=BEGINS)
@pytest.mark.parametrize("role", APPEND)
def test_who_appends_begins_a_role_and_a_fence_and_writes_no_other_control_state(
    plan: Plan, role: str, keys: list[str] | None, decision: str
) -> None:
    assert plan.decide(role, "dynamodb:PartiQLInsert", table("control"), keys) == decision
    assert plan.decide(role, "dynamodb:PartiQLInsert", table("control", PEER), keys) == "ImplicitDeny"
    for action in CHANGES:
        assert plan.decide(role, action, table("control"), keys) == "ImplicitDeny"


@pytest.mark.parametrize(("keys", "decision"), BEGINS.values(), ids=BEGINS)
@pytest.mark.parametrize("verb", ["Insert", "Update"])
def test_the_replicator_keeps_what_peers_were_told_of_its_role_and_fence_and_nothing_else_that_way(
    plan: Plan, verb: str, keys: list[str] | None, decision: str
) -> None:
    assert plan.decide("replicator", f"dynamodb:PartiQL{verb}", table("control"), keys) == decision
    assert plan.decide("replicator", f"dynamodb:PartiQL{verb}", table("control", PEER), keys) == "ImplicitDeny"


@pytest.mark.parametrize("role", [role for role in ROLES if role not in (*OPERATE, "worker")])
@pytest.mark.parametrize("verb", ["Insert", "Update"])
def test_links_note_which_tables_their_peers_have_and_nobody_else_does(plan: Plan, role: str, verb: str) -> None:
    decision = "Allow" if role in ("replicator", "catch-up") else "ImplicitDeny"
    assert plan.decide(role, f"dynamodb:PartiQL{verb}", table("control"), ["peers"]) == decision
    assert plan.decide(role, f"dynamodb:PartiQL{verb}", table("control", PEER), ["peers"]) == "ImplicitDeny"
    assert plan.decide(role, f"dynamodb:PartiQL{verb}", table("control"), ["peers", "homes"]) == "ImplicitDeny"


@pytest.mark.parametrize("role", [role for role in ROLES if role not in (*APPEND, "replicator", "worker", *OPERATE)])
def test_nobody_else_begins_a_role_or_a_fence(plan: Plan, role: str) -> None:
    for key in ("role", "fence"):
        assert plan.decide(role, "dynamodb:PartiQLInsert", table("control"), [key]) == "ImplicitDeny"


def test_where_streams_check_the_fence_the_api_and_the_settling_projector_may_and_no_others(
    guarded: World, terraform: Terraform
) -> None:
    more = {"fences": {"checked": ["*"]}, "claims": {"optimistic": ["nickname"]}}
    plan = Plan(terraform.plan(guarded.settings(OWN), variables(None) | more))
    appending = ("api", "heartbeat", "projector", "projector-catch-up")
    for role in FUNCTIONS:
        expected = "Allow" if role in appending else "ImplicitDeny"
        needs = [("dynamodb:ConditionCheckItem", table("control")), ("dynamodb:PartiQLSelect", table("control"))]
        for action, resource in needs:
            assert plan.decide(role, action, resource) == expected, (role, action)
        lists = "Allow" if role in (*appending, "replicator") else "ImplicitDeny"  # whoever may begin a role
        assert plan.decide(role, "dynamodb:Query", lanes(PEER)) == lists, role
        assert plan.decide(role, "dynamodb:PartiQLInsert", events(OWN), [f"{OWN}#user#homer"]) == expected, role
        if role != "replicator":
            assert plan.decide(role, "dynamodb:PartiQLInsert", table("control"), ["role"]) == expected, role


def test_writers_hand_over_lanes_of_their_own_region_alone(guarded: World, terraform: Terraform) -> None:
    plan = Plan(terraform.plan(guarded.settings(OWN), variables(None) | {"copies": {"account": 2}}))
    for role in ("writer", "api"):
        assert plan.decide(role, "dynamodb:PartiQLInsert", events(PEER), [f"{OWN}#account#7"]) == "Allow"
        assert plan.decide(role, "dynamodb:PartiQLInsert", events(PEER), [f"{PEER}#account#7"]) == "ImplicitDeny"
        assert plan.decide(role, "dynamodb:DescribeTable", events(PEER)) == "Allow"
    for role in ("heartbeat", "reader", "publish"):
        assert plan.decide(role, "dynamodb:PartiQLInsert", events(PEER), [f"{OWN}#account#7"]) == "ImplicitDeny"


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond_the_prefix_or_names_everything(plan: Plan, role: str) -> None:
    for action in ("PartiQLInsert", "Query", "GetItem", "PutItem", "PartiQLUpdate", "Scan"):
        foreign = events(OWN, "payroll")
        assert plan.decide(role, f"dynamodb:{action}", foreign, [f"{OWN}#user#homer"]) == "ImplicitDeny"
    for policy in plan.roles[role]:
        for statement in policy["Statement"]:
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not any("*" in action for action in actions), statement
            if actions == ["kinesis:ListStreams"]:
                continue  # lists have no resources to name
            wild = [arn for arn in resources if "*" in arn]
            assert all(
                (arn.endswith((f"{events(OWN)}/stream/*", ":*")) and "log-group" in arn) or "/stream/" in arn for arn in wild
            )


def queue(name: str) -> str:
    return f"arn:aws:sqs:{OWN}:{ACCOUNT}:meridian-{name}"


READS_OF_A_STREAM = ("GetRecords", "GetShardIterator", "DescribeStream", "DescribeStreamSummary", "ListShards")

NEEDS = {
    "replicator": [
        ("dynamodb:GetRecords", f"{events(OWN)}/stream/2026"),
        ("dynamodb:Query", events(OWN)),
        ("dynamodb:Query", events(PEER)),
        ("dynamodb:BatchGetItem", events(PEER)),
        ("dynamodb:BatchWriteItem", table("control")),
        *(("dynamodb:DescribeTable", each) for each in (events(PEER), events(OWN), table("control"))),
        ("dynamodb:Query", table("control", PEER)),
        *(("dynamodb:Query", resource) for resource in (lanes(), lanes(PEER))),
        ("sqs:SendMessage", queue("backlog-eu-west-1")),
        ("sqs:SendMessage", queue("failed-batches")),
    ],
    "catch-up": [
        *(("dynamodb:Query", resource) for resource in (events(OWN), lanes())),
        ("dynamodb:DescribeTable", events(PEER)),
        ("dynamodb:Query", table("control", PEER)),
        ("dynamodb:BatchGetItem", events(PEER)),
        ("sqs:ReceiveMessage", queue("backlog-eu-west-1")),
        ("sqs:DeleteMessage", queue("backlog-eu-west-1")),
        ("sqs:SendMessage", queue("backlog-eu-west-1")),
    ],
    "redrive": [
        ("dynamodb:GetShardIterator", f"{events(OWN)}/stream/2026"),
        *(("dynamodb:Query", resource) for resource in (lanes(), table("control"))),
        ("dynamodb:BatchWriteItem", table("control")),
        ("sqs:ReceiveMessage", queue("failed-batches")),
        ("sqs:SendMessage", queue("failed-batches")),
        ("sqs:SendMessage", queue("backlog-views")),
        ("sqs:SendMessage", queue("backlog-eu-west-1")),
    ],
    "projector": [
        ("dynamodb:GetRecords", f"{events(OWN)}/stream/2026"),
        ("dynamodb:Query", events(OWN)),
        ("dynamodb:PartiQLInsert", table("views")),
        ("dynamodb:PartiQLUpdate", table("views")),
        ("dynamodb:PartiQLDelete", table("control")),
        ("sqs:SendMessage", queue("backlog-views")),
        ("sqs:SendMessage", queue("dead-letters")),
    ],
    "projector-catch-up": [
        ("dynamodb:Query", events(OWN)),
        ("dynamodb:PartiQLUpdate", table("views")),
        ("sqs:ReceiveMessage", queue("backlog-views")),
        ("sqs:SendMessage", queue("dead-letters")),
    ],
    "publish": [
        *((f"kinesis:{action}", stream("events")) for action in READS_OF_A_STREAM),
        ("kinesis:ListStreams", "*"),
        ("kinesis:PutRecords", stream("external")),
        ("dynamodb:Query", events(OWN)),
        *((f"dynamodb:{action}", table("control")) for action in ("Query", "BatchWriteItem", "PutItem", "PartiQLDelete")),
    ],
    "api": [
        *(("dynamodb:Query", events(region)) for region in (OWN, PEER, "ap-southeast-2")),
        ("dynamodb:BatchGetItem", events(OWN)),
        ("dynamodb:BatchGetItem", table("views")),
        ("dynamodb:Query", table("control")),
        *(("dynamodb:DescribeTable", table(name)) for name in ("events", "views", "control")),
        *(("dynamodb:Query", resource) for resource in (lanes(PEER), table("control", PEER))),
    ],
    "writer": [
        *(("dynamodb:DescribeTable", table(name)) for name in ("events", "control")),
        *(("dynamodb:Query", resource) for resource in (lanes(PEER), table("control", PEER))),
        *(("dynamodb:Query", events(region)) for region in (OWN, PEER, "ap-southeast-2")),
        ("dynamodb:BatchGetItem", events(OWN)),
        *((f"dynamodb:{action}", table("control")) for action in ("Query", "PartiQLSelect", "ConditionCheckItem")),
        ("dynamodb:DescribeTable", table("keys")),
    ],
    "reader": [
        *(("dynamodb:DescribeTable", table(name)) for name in ("events", "views", "control")),
        *(("dynamodb:Query", events(region)) for region in (OWN, PEER, "ap-southeast-2")),
        ("dynamodb:Query", table("control")),
        ("dynamodb:GetItem", table("views")),
    ],
    "operator": [
        *((f"dynamodb:{action}", events(OWN)) for action in ("GetItem", "BatchGetItem", "Query", "Scan")),
        *((f"dynamodb:{action}", lanes()) for action in ("Query", "Scan")),
        *(("dynamodb:DescribeTable", table(name)) for name in ("events", "control")),
        *((f"dynamodb:{action}", table("control")) for action in ("Query", "BatchWriteItem", "ConditionCheckItem")),
        *((f"dynamodb:PartiQL{verb}", table("control")) for verb in ("Insert", "Update", "Delete", "Select")),
        *((f"sqs:{action}", queue("backlog-eu-west-1")) for action in ("GetQueueUrl", "GetQueueAttributes")),
        *(("sqs:GetQueueAttributes", queue(name)) for name in ("backlog-views", "dead-letters", "failed-batches")),
    ],
    "oncall": [
        *((f"sqs:{action}", queue("dead-letters")) for action in ("GetQueueUrl", "ReceiveMessage", "DeleteMessage")),
        *(("sqs:SendMessage", queue(f"backlog-{target}")) for target in (PEER, "ap-southeast-2", "views")),
        *((f"dynamodb:{action}", table("views")) for action in ("Scan", "Query", "BatchGetItem", "BatchWriteItem")),
        *((f"dynamodb:PartiQL{verb}", table("views")) for verb in ("Insert", "Update")),
    ],
    "consumer": [(f"kinesis:{action}", stream("external")) for action in READS_OF_A_STREAM],
}


@pytest.mark.parametrize(("role", "action", "resource"), [(role, *need) for role, needs in NEEDS.items() for need in needs])
def test_every_role_may_do_what_its_code_does(plan: Plan, role: str, action: str, resource: str) -> None:
    assert plan.decide(role, action, resource) == "Allow"


LAMBDA = f"arn:aws:lambda:{OWN}:{ACCOUNT}:function:meridian"
API = f"{LAMBDA}-api"

NOT_THEIRS = [
    ("reader", "sqs:SendMessage", queue("backlog-eu-west-1")),
    ("writer", "dynamodb:PartiQLUpdate", table("views")),
    ("writer", "dynamodb:PutItem", table("control")),
    ("replicator", "dynamodb:PartiQLUpdate", table("views")),
    ("replicator", "dynamodb:PutItem", table("control", PEER)),
    ("replicator", "sqs:ReceiveMessage", queue("backlog-eu-west-1")),
    ("projector", "dynamodb:Query", events(PEER)),
    ("replicator", "dynamodb:DeleteTable", events(OWN)),
    ("replicator", "dynamodb:PutResourcePolicy", events(OWN)),
    ("replicator", "dynamodb:DeleteResourcePolicy", events(OWN)),
    *((role, f"kinesis:{put}", stream("events")) for role in ROLES for put in ("PutRecord", "PutRecords")),
    *((role, "kinesis:PutRecords", stream("external")) for role in ROLES if role not in ("publish", "worker")),
    ("publish", "dynamodb:GetItem", table("views")),
    ("publish", "dynamodb:Scan", events(OWN)),
    ("publish", "dynamodb:Query", events(PEER)),
    ("publish", "kinesis:PutRecords", stream("external", PEER)),
    ("consumer", "kinesis:GetRecords", stream("events")),
    ("consumer", "kinesis:GetRecords", stream("external", PEER)),
    ("consumer", "dynamodb:Query", events(OWN)),
    *((role, "kinesis:GetRecords", stream("external")) for role in ROLES if role != "consumer"),
    *(("api", f"dynamodb:{action}", table("control")) for action in ("PutItem", "PartiQLUpdate", "PartiQLSelect")),
    *(("api", f"dynamodb:PartiQL{action}", table("views")) for action in ("Insert", "Update", "Delete")),
    ("api", "dynamodb:Scan", events(OWN)),
    *(
        (role, f"dynamodb:PartiQL{action}", table("control"))
        for role in ("writer", "reader")
        for action in ("Insert", "Delete")
    ),
    *(("reader", "dynamodb:Query", resource) for resource in (table("control", PEER), lanes(), lanes(PEER))),
    *((role, "dynamodb:Scan", resource) for role in APPEND for resource in (lanes(PEER), events(PEER))),
    *((role, "dynamodb:DescribeTable", events(PEER)) for role in ("writer", "api", "reader")),
    *(("projector", "dynamodb:Query", resource) for resource in (table("control", PEER), lanes(PEER))),
    *(
        ("operator", action, resource)
        for action, resource in (
            ("dynamodb:Query", events(PEER)),
            ("dynamodb:BatchWriteItem", table("control", PEER)),
            ("dynamodb:PartiQLUpdate", table("views")),
            ("dynamodb:GetItem", table("keys")),
            ("dynamodb:UpdateTable", events(OWN)),
            ("dynamodb:PutResourcePolicy", events(OWN)),
            ("sqs:ReceiveMessage", queue("backlog-eu-west-1")),
            ("sqs:SendMessage", queue("backlog-eu-west-1")),
            ("sqs:PurgeQueue", queue("backlog-eu-west-1")),
        )
    ),
    *(
        ("oncall", action, resource)
        for action, resource in (
            ("dynamodb:Query", events(PEER)),
            ("dynamodb:Scan", table("views", PEER)),
            ("dynamodb:BatchWriteItem", table("views", PEER)),
            ("dynamodb:BatchWriteItem", table("control", PEER)),
            ("dynamodb:DeleteItem", table("keys")),
            ("dynamodb:UpdateTable", table("views")),
            *((f"sqs:{action}", queue("backlog-views")) for action in ("ReceiveMessage", "DeleteMessage", "PurgeQueue")),
            *((f"sqs:{action}", queue("failed-batches")) for action in ("ReceiveMessage", "SendMessage")),
            *((f"sqs:{action}", queue("dead-letters")) for action in ("SendMessage", "PurgeQueue")),
        )
    ),
    *((role, "lambda:InvokeFunction", f"{LAMBDA}-replicator") for role in ROLES),
    *((role, f"lambda:{action}", API) for role in ROLES for action in ("InvokeFunction", "InvokeFunctionUrl")),
]


@pytest.mark.parametrize(("role", "action", "resource"), NOT_THEIRS)
def test_no_role_may_do_what_is_not_its_own(plan: Plan, role: str, action: str, resource: str) -> None:
    assert plan.decide(role, action, resource) == "ImplicitDeny"


CALLS = {
    "by its URL": ("lambda:InvokeFunctionUrl", API, {"lambda:FunctionUrlAuthType": "AWS_IAM"}, "Allow"),
    "the function behind its URL": ("lambda:InvokeFunction", API, {"lambda:InvokedViaFunctionUrl": "true"}, "Allow"),
    "the function itself": ("lambda:InvokeFunction", API, {"lambda:InvokedViaFunctionUrl": "false"}, "ImplicitDeny"),
    "a URL open to all": ("lambda:InvokeFunctionUrl", API, {"lambda:FunctionUrlAuthType": "NONE"}, "ImplicitDeny"),
    "another function": (
        "lambda:InvokeFunction", f"{LAMBDA}-projector", {"lambda:InvokedViaFunctionUrl": "true"}, "ImplicitDeny"
    ),
}  # fmt: skip


def test_whoever_is_on_call_has_every_right_of_operators(plan: Plan) -> None:
    (oncall,), (operator,) = plan.roles["oncall"], plan.roles["operator"]
    assert [statement for statement in operator["Statement"] if statement not in oncall["Statement"]] == []


@pytest.mark.parametrize(("action", "resource", "asked", "decision"), CALLS.values(), ids=CALLS)
def test_a_caller_calls_the_api_by_its_url_and_nothing_else(
    plan: Plan, action: str, resource: str, asked: dict[str, str], decision: str
) -> None:
    assert plan.decide("caller", action, resource, more=asked) == decision


FEED = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/kinesisreplication.dynamodb.amazonaws.com/AWSServiceRoleForX"


@pytest.mark.parametrize("action", ["kinesis:PutRecord", "kinesis:PutRecords"])
@pytest.mark.parametrize(
    ("who", "decision"),
    [
        (FEED, "Allow"),
        (f"arn:aws:iam::{ACCOUNT}:root", "Deny"),
        (f"arn:aws:iam::{ACCOUNT}:role/meridian-{OWN}-publish", "Deny"),
        (f"arn:aws:iam::{ACCOUNT}:role/admin", "Deny"),
        (FEED.replace("kinesisreplication.dynamodb", "lambda"), "Deny"),
        (FEED.replace(ACCOUNT, "123456789012"), "Deny"),
    ],
)
def test_nobody_but_dynamodb_puts_records_on_the_bus(plan: Plan, action: str, who: str, decision: str) -> None:
    anything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    assert decide([anything, plan.bus], action, stream("events"), who=who) == decision
    assert decide([anything, plan.bus], "kinesis:GetRecords", stream("events"), who=who) == "Allow"


REVEAL, WRITE = ("projector", "projector-catch-up", "api", "oncall", "worker"), ("writer",)
FORGETS, REPLACES = {"dynamodb:Attributes": ["pk", "forgotten"]}, {"dynamodb:Attributes": ["pk", "us-east-1.key"]}
SUBJECT = {"kms:EncryptionContextKeys": ["subject"], "kms:EncryptionContext:subject": "user/7"}
NO_SUBJECT = [{}, {"kms:EncryptionContextKeys": ["other"]}, {**SUBJECT, "kms:EncryptionContextKeys": ["subject", "other"]}]


def kms(region: str = OWN, key: str = KEY) -> str:
    return f"arn:aws:kms:{region}:{ACCOUNT}:key/{key}"


@pytest.mark.parametrize("role", ROLES)
def test_keys_of_subjects_are_for_those_who_reveal_and_write(plan: Plan, role: str) -> None:
    expected = "Allow" if role in REVEAL + WRITE else "ImplicitDeny"
    for action, resource in (
        ("dynamodb:GetItem", table("keys")),
        ("dynamodb:UpdateItem", table("keys")),
        ("dynamodb:GetItem", table("keys", PEER)),
        ("dynamodb:GetItem", table("keys", "ap-southeast-2")),
    ):
        assert plan.decide(role, action, resource) == expected
    for action in ("UpdateItem", "DeleteItem", "PartiQLInsert", "PartiQLUpdate"):
        assert plan.decide(role, f"dynamodb:{action}", table("keys", PEER)) == "ImplicitDeny"
    for action in ("DeleteItem", "Scan", "Query", "BatchWriteItem", "PartiQLDelete"):
        assert plan.decide(role, f"dynamodb:{action}", table("keys")) == "ImplicitDeny"


@pytest.mark.parametrize("role", ROLES)
def test_a_put_of_keys_can_only_forget_and_only_a_writer_forgets_elsewhere(plan: Plan, role: str) -> None:
    here = "Allow" if role in REVEAL + WRITE else "ImplicitDeny"
    there = "Allow" if role in WRITE else "ImplicitDeny"
    assert plan.decide(role, "dynamodb:PutItem", table("keys"), more=FORGETS) == here
    assert plan.decide(role, "dynamodb:PutItem", table("keys", PEER), more=FORGETS) == there
    for region in (OWN, PEER):
        for asked in ({}, REPLACES):
            assert plan.decide(role, "dynamodb:PutItem", table("keys", region), more=asked) == "ImplicitDeny"


@pytest.mark.parametrize("role", ROLES)
def test_kms_unwraps_keys_for_those_who_reveal_and_only_for_a_named_subject(plan: Plan, role: str) -> None:
    may = {"kms:Decrypt": role in REVEAL + WRITE, "kms:GenerateDataKey": role in WRITE, "kms:Encrypt": False}
    for action, allowed in may.items():
        assert plan.decide(role, action, kms(), more=SUBJECT) == ("Allow" if allowed else "ImplicitDeny")
        for asked in NO_SUBJECT:
            assert plan.decide(role, action, kms(), more=asked) == "ImplicitDeny"
        for other in (kms(PEER), kms(key="mrk-00000000000000000000000000000000")):
            assert plan.decide(role, action, other, more=SUBJECT) == "ImplicitDeny"


def test_a_policy_is_not_longer_than_iam_takes(guarded: World, terraform: Terraform) -> None:
    """6,144 characters for a managed policy, 10,240 for a role's own ones together, white space aside."""
    peers = [PEER, "ap-southeast-2", "ap-northeast-1", "eu-central-1", "us-west-2"]
    plan = Plan(terraform.plan(guarded.settings(OWN), variables(None) | {"peers": peers, "fences": {"checked": ["*"]}}))
    for role, policies in plan.roles.items():
        length = sum(len(json.dumps(policy, separators=(",", ":"))) for policy in policies)
        assert length <= (9000 if role in FUNCTIONS else 6144), role


def test_the_emulator_lets_a_writer_read_an_event_and_neither_put_nor_change_nor_remove_one(
    guarded: World, terraform: Terraform
) -> None:
    """That it may insert one is for the plan's tests: the emulator knows no actions of PartiQL's."""
    settings = guarded.settings(OWN)
    emulator = {"endpoints": {region: settings.endpoint(OWN) for region in (OWN, PEER, "ap-southeast-2")}}
    terraform.apply(settings, variables(emulator))
    admin = {"region_name": OWN, "endpoint_url": settings.endpoint(OWN)}
    keys = boto3.client("sts", **admin).assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/meridian-{OWN}-writer", RoleSessionName="desk"
    )["Credentials"]
    client = boto3.client(
        "dynamodb",
        **admin,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    name, key = "meridian-events", {"pk": {"S": f"{OWN}#user#homer"}, "sk": {"S": sequence_key(1)}}
    insert = f"INSERT INTO \"{name}\" VALUE {{'pk': ?, 'sk': ?, 'payload': ?}}"
    boto3.client("dynamodb", **admin).execute_statement(Statement=insert, Parameters=[key["pk"], key["sk"], {"S": "{}"}])
    assert client.get_item(TableName=name, Key=key)["Item"]["payload"] == {"S": "{}"}
    forbidden = {
        "put_item": {"Item": key, "ConditionExpression": "attribute_not_exists(pk)"},
        "update_item": {"Key": key, "UpdateExpression": "SET payload = :x", "ExpressionAttributeValues": {":x": {"S": "x"}}},
        "delete_item": {"Key": key},
        "scan": {},
    }
    for operation, request in forbidden.items():
        with pytest.raises(ClientError) as refused:
            getattr(client, operation)(TableName=name, **request)
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException", operation
    batch: Any = {name: [{"DeleteRequest": {"Key": key}}]}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.batch_write_item(RequestItems=batch)
    transaction: Any = [{"Delete": {"TableName": name, "Key": key}}]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.transact_write_items(TransactItems=transaction)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_item(TableName="meridian-control", Item=key)
    wrapped: Any = {
        "Key": {"pk": {"S": "user/7"}},
        "UpdateExpression": "SET #k = :w",
        "ExpressionAttributeNames": {"#k": "k"},
    }
    client.update_item(TableName="meridian-keys", **wrapped, ExpressionAttributeValues={":w": {"B": b"w"}})
    assert client.get_item(TableName="meridian-keys", Key=wrapped["Key"])["Item"]["k"] == {"B": b"w"}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.scan(TableName="meridian-keys")
    assert client.get_item(TableName=name, Key=key)["Item"]["payload"] == {"S": "{}"}
