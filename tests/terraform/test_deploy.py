"""Three emulators, three real applies: what operators do with a deployed system, in the order they would do it.

The tests of this module share one world and build on each other: pytest runs them as they stand.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chaos.world.terraform import TerraformWorld
from projectors.model.view import View, ViewKey
from projectors.sinks.dynamodb import DynamoSink
from replicator import EventStore, NewEvent, Observed
from replicator.domain.names import sequence_key
from replicator.external import ExternalEvent
from tests.commands import command as typed
from tests.embedded_metrics import lines, publish_metrics
from tests.processes import wait_until

pytestmark = pytest.mark.deploy

HERE = Path(__file__).parent
REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
EAST, WEST, SOUTH = REGIONS
RETRY_LIMIT = 60
"""Seconds after which the mappings give a batch up: the least that AWS allows."""


def projection(folder: Path, which: str) -> Path:
    """The module `members` with the mistake, or mended."""
    return Path(shutil.copy(HERE / f"{which}.py", folder / "members.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("members")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[TerraformWorld]:
    variables = {
        "mapping": {"record_age_seconds": RETRY_LIMIT, "retries": 2},
        "external": {"transformation": "directory:Directory"},
        "api": {"enabled": True},
    }
    include, projections = [projection(folder, "fragile"), HERE / "directory.py"], ["members:Member"]
    with TerraformWorld(REGIONS, projections, include=include, variables=variables, read_timeout=2.0) as made:
        yield made


@pytest.fixture(scope="module")
def stores(world: TerraformWorld) -> dict[str, EventStore]:
    return {region: world.store(region) for region in REGIONS}


def eventually(condition: Callable[[], Any]) -> Any:
    found: list[Any] = []
    wait_until(lambda: found.append(condition()) or found[-1], "the condition", pause=0.25)  # type: ignore[func-returns-value]
    return found[-1]


def run(world: TerraformWorld, region: str, *command: str) -> str:
    """What a `replicator` command prints for a region. It must succeed."""
    settings = world.settings(region)
    endpoints = ",".join(f"{name}={url}" for name, url in settings.endpoints.items())
    options = ["--region", region, "--peers", ",".join(settings.peers), "--endpoints", endpoints]
    answer = typed("replicator", *command, *options)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def views(world: TerraformWorld, *streams: str) -> dict[str, dict[str, View]]:
    """By region and stream, the views that are there: of the version that folded them last."""
    keys = [ViewKey("member", stream, version) for version in (1, 2) for stream in streams]
    found = {region: DynamoSink(world.settings(region)).load(keys) for region in REGIONS}
    return {region: {key.key: held[key] for key in keys if key in held} for region, held in found.items()}


def everywhere(world: TerraformWorld, stream: str, value: dict[str, Any]) -> bool:
    """Does every region have the same view of `stream`, with this value?"""
    found = [each.get(stream) for each in views(world, stream).values()]
    return all(view is not None and view.value == value and view.digest == found[0].digest for view in found)


def test_a_plan_after_an_apply_is_empty_in_every_region(world: TerraformWorld) -> None:
    assert [world.terraform.changes(world.settings(region), world.variables(region)) for region in REGIONS] == [[], [], []]


def test_events_of_every_region_are_copied_and_projected_everywhere(
    world: TerraformWorld, stores: dict[str, EventStore]
) -> None:
    for region in REGIONS:
        stores[region].append("member/homer", NewEvent("joined", {"name": "Homer"}), NewEvent("visited", {}))
    eventually(lambda: everywhere(world, "member/homer", {"called": "Homer", "visits": 3}))
    lanes = [{region: list(stores[here].read_lane("member/homer", region)) for region in REGIONS} for here in REGIONS]
    assert lanes[0] == lanes[1] == lanes[2]
    assert all(len(events) == 2 for events in lanes[0].values())


def published(world: TerraformWorld, region: str) -> list[ExternalEvent]:
    """All external events that the region's stream holds, shard after shard."""
    kinesis, found = world.client(region, "kinesis"), []
    for shard in kinesis.list_shards(StreamName="meridian-external")["Shards"]:
        start = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(StreamName="meridian-external", **start)["ShardIterator"]
        found += [ExternalEvent.parse(each["Data"]) for each in kinesis.get_records(ShardIterator=iterator)["Records"]]
    return found


def test_every_region_publishes_the_declared_events_of_all_and_nothing_else(world: TerraformWorld) -> None:
    for region in REGIONS:
        eventually(lambda here=region: {event.region for event in published(world, here)} == set(REGIONS))
        for event in published(world, region):
            assert (event.type, event.subject, event.data) == (
                "com.example.member.visited",
                "member/homer",
                {"member": "homer"},
            )
            assert (event.sequence, event.previous) == (2, 0)


def call(
    world: TerraformWorld, region: str, method: str, path: str, body: Any = None, signed: bool = True
) -> tuple[int, Any]:
    """The answer of a region's HTTP API, asked over its function URL. The emulator serves that under a path of its own, and
    refuses requests that bear no signature; whose it is, it leaves to others."""
    functions = world.client(region, "lambda")
    made = functions.get_function_url_config(FunctionName="meridian-api")["FunctionUrl"].split("//")[1].split(".")[0]
    url = f"{world.settings(region).endpoint(region)}/_aws/lambda-url/{made}{path}"
    request = AWSRequest(
        method, url, {"Content-Type": "application/json"}, None if body is None else json.dumps(body).encode()
    )
    if signed:
        SigV4Auth(Credentials("test", "test"), "lambda", region).add_auth(request)
    sent = urllib.request.Request(url, request.data, dict(request.headers), method=method)
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_api_takes_signed_requests_and_its_events_go_everywhere(world: TerraformWorld) -> None:
    assert call(world, SOUTH, "GET", "/health", signed=False)[0] == 403
    assert call(world, SOUTH, "GET", "/health") == (200, {"status": "alive", "region": SOUTH})
    assert call(world, SOUTH, "GET", "/ready")[0] == 200
    events = [{"type": "joined", "payload": {"name": "Ned"}}]
    status, saved = call(world, SOUTH, "POST", "/streams/member/ned/events", {"events": events})
    assert (status, saved["events"][0]["id"]) == (201, f"{SOUTH}#member#ned#{sequence_key(1)}")
    eventually(lambda: everywhere(world, "member/ned", {"called": "Ned", "visits": 0}))
    status, found = call(world, EAST, "GET", f"/streams/member/ned/value?token={saved['token']}")
    assert (status, found["value"]) == (200, {"called": "Ned", "visits": 0})


@pytest.fixture(scope="module")
def alarms(world: TerraformWorld) -> dict[str, dict[str, Any]]:
    """The alarms that WEST has on AWS, by name, as planned. The emulator describes alarms too poorly to be given any."""
    planned = world.terraform.plan(world.settings(WEST), {**world.variables(WEST), "emulator": None})
    found = [change["change"]["after"] for change in planned if change["type"] == "aws_cloudwatch_metric_alarm"]
    return {alarm["alarm_name"]: alarm for alarm in found}


def metrics(world: TerraformWorld, region: str) -> list[dict[str, Any]]:
    """What the functions of a region wrote as embedded metrics, put into its CloudWatch."""
    logs = world.client(region, "logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    return publish_metrics(logs, world.client(region, "cloudwatch"), groups)


def test_every_alarm_of_ours_watches_a_metric_that_the_functions_write(
    world: TerraformWorld, alarms: dict[str, dict[str, Any]]
) -> None:
    assert len(alarms) > 15
    put = metrics(world, WEST)
    written = {(d["MetricName"], frozenset((x["Name"], x["Value"]) for x in d["Dimensions"])) for d in put}
    watched = {
        (alarm["metric_name"], frozenset(alarm["dimensions"].items()))
        for alarm in alarms.values()
        if alarm["namespace"] == "Meridian"
    }
    assert len(watched) >= 6
    only_when_it_happens = {"BacklogAge", "EventsChanged"}
    assert {key for key in watched - written if key[0] not in only_when_it_happens} == set()


def test_poison_stops_only_its_own_lane_and_is_replayed_after_the_fix(
    world: TerraformWorld,
    stores: dict[str, EventStore],
    alarms: dict[str, dict[str, Any]],
    folder: Path,
) -> None:
    (poison,) = stores[EAST].append("member/marge", NewEvent("joined", {"nickname": "Marge, and this is private"}))
    stores[EAST].append("member/marge", NewEvent("visited", {}))
    stores[EAST].append("member/bart", NewEvent("joined", {"name": "Bart"}))
    eventually(lambda: everywhere(world, "member/bart", {"called": "Bart", "visits": 0}))
    eventually(lambda: all(world.dead_letters(region) == 1 for region in REGIONS))
    assert not any(views(world, "member/marge").values())

    for region in REGIONS:
        queues = world.client(region, "sqs")
        url = queues.get_queue_url(QueueName="meridian-dead-letters")["QueueUrl"]
        (message,) = queues.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
        cause = json.loads(message["Body"])["cause"]
        assert poison.id in cause["event"]
        assert "KeyError at members.py:" in cause["error"]
        assert "private" not in message["Body"]

    assert not any("private" in line for line in lines(world.client(WEST, "logs"), "/aws/lambda/meridian-projector"))
    planned = alarms["meridian-projection-failures"]
    cloudwatch = world.client(WEST, "cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=planned["alarm_name"],
        Namespace=planned["namespace"],
        MetricName=planned["metric_name"],
        Dimensions=[{"Name": name, "Value": value} for name, value in planned["dimensions"].items()],
        Statistic=planned["statistic"],
        Period=planned["period"],
        EvaluationPeriods=1,
        Threshold=planned["threshold"],
        ComparisonOperator=planned["comparison_operator"],
    )
    metrics(world, WEST)
    find = {"AlarmNames": [planned["alarm_name"]]}
    eventually(lambda: cloudwatch.describe_alarms(**find)["MetricAlarms"][0]["StateValue"] == "ALARM")

    world.build([projection(folder, "mended"), HERE / "directory.py"])
    changed = world.terraform.changes(world.settings(WEST), world.variables(WEST))
    assert changed
    assert all(".aws_lambda_function.function[" in change and change.endswith(": update") for change in changed), changed
    world.everywhere(world.apply)
    for region in REGIONS:
        assert poison.id in run(world, region, "replay")
    eventually(lambda: everywhere(world, "member/marge", {"called": "nobody", "visits": 1}))
    eventually(lambda: not any(world.dead_letters(region) for region in REGIONS))
    assert everywhere(world, "member/bart", {"called": "Bart", "visits": 0})


def test_a_region_applied_again_with_a_change_disturbs_nothing(world: TerraformWorld, stores: dict[str, EventStore]) -> None:
    variables = {**world.variables(WEST), "log_retention_days": 90}
    changed = world.terraform.changes(world.settings(WEST), variables)
    assert changed
    assert all(".aws_cloudwatch_log_group." in change and change.endswith(": update") for change in changed), changed
    stores[EAST].append("member/lisa", NewEvent("joined", {"name": "Lisa"}))
    world.terraform.apply(world.settings(WEST), variables)
    stores[WEST].append("member/lisa", NewEvent("visited", {}), observed=Observed.of(stores[WEST].read("member/lisa")))
    eventually(lambda: everywhere(world, "member/lisa", {"called": "Lisa", "visits": 1}))
    assert world.terraform.changes(world.settings(EAST), world.variables(EAST)) == []


def test_a_removed_event_is_noticed_and_reconcile_brings_it_back(
    world: TerraformWorld, stores: dict[str, EventStore]
) -> None:
    last = list(stores[WEST].read_lane("member/homer", EAST))[-1]
    table = world.client(WEST, "dynamodb")
    table.delete_item(
        TableName="meridian-events", Key={"pk": {"S": last.lane.key}, "sk": {"S": sequence_key(last.sequence)}}
    )
    eventually(lambda: any(d["MetricName"] == "EventsChanged" and d["Value"] == 1 for d in metrics(world, WEST)))
    assert run(world, EAST, "reconcile", "--to", WEST).startswith(f"{EAST}: ")
    eventually(lambda: list(stores[WEST].read_lane("member/homer", EAST))[-1:] == [last])
    key = f"{last.lane.key} {sequence_key(last.sequence)}"
    listed = [json.loads(line) for line in run(world, WEST, "quarantine").splitlines()]
    links = {WEST, f"{WEST}>views", f"{WEST}>external"}
    assert {(record["link"], record["event"]) for record in listed} == {(link, key) for link in links}
    run(world, WEST, "quarantine", "--release", key)
    assert run(world, WEST, "quarantine") == ""
    assert world.dead_letters(WEST) == 0


def test_a_region_frozen_beyond_the_retry_limit_converges_through_the_backlog(
    world: TerraformWorld, stores: dict[str, EventStore]
) -> None:
    world.regions[WEST].freeze()
    frozen = time.monotonic()
    count = 0
    while time.monotonic() - frozen < RETRY_LIMIT + 10:
        stores[EAST].append("member/maggie", NewEvent("visited", {}))
        stores[SOUTH].append(f"member/abe{count % 7}", NewEvent("visited", {}))
        count += 1
        time.sleep(0.5)
    assert len(list(stores[SOUTH].read_lane("member/maggie", EAST))) > count - 10, "a frozen peer holds up nobody else"
    world.regions[WEST].thaw()
    eventually(lambda: everywhere(world, "member/maggie", {"called": None, "visits": count}))
    abes = {f"member/abe{n}": len(range(n, count, 7)) for n in range(7)}
    for stream, visits in abes.items():
        eventually(lambda s=stream, v=visits: everywhere(world, s, {"called": None, "visits": v}))
    assert [world.dead_letters(region) for region in REGIONS] == [0, 0, 0]


def test_a_destroyed_region_leaves_nothing_behind(world: TerraformWorld) -> None:
    world.everywhere(world.destroy)
    for region in REGIONS:
        assert world.client(region, "dynamodb").list_tables()["TableNames"] == []
        assert world.client(region, "lambda").list_functions()["Functions"] == []
