"""Every alarm of a plan: a history of its failure sets it off in the stated time and sends one message, a healthy one none.

Histories are of one value or none a minute, by metric, in the region whose plan this is. tests/terraform/cloudwatch.py
evaluates them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform
from chaos.world.world import World, WorldOptions
from tests.terraform.cloudwatch import Alarm, Composite, Evaluation, History, Metric

pytestmark = pytest.mark.terraform

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
ACCOUNT = "000000000000"
PAGE, TICKET = (f"arn:aws:sns:{EAST}:{ACCOUNT}:meridian-{severity}" for severity in ("page", "ticket"))
FUNCTIONS = ("replicator", "catch-up", "redrive", "heartbeat", "projector", "projector-catch-up", "publish", "api")
HEALTHY, STRUCK = 30, 60
"""Minutes of health before a failure, and of the failure."""
WITHIN = 8
"""Minutes within which a failure is to be known, unless its threshold is longer."""

Values = Mapping[int, Sequence[float]]


def meridian(name: str, **dimensions: str) -> Metric:
    return Metric.of("Meridian", name, region=EAST, **dimensions)


def function(metric: str, name: str) -> Metric:
    return Metric.of("AWS/Lambda", metric, FunctionName=f"meridian-{name}")


def queue(metric: str, name: str) -> Metric:
    return Metric.of("AWS/SQS", metric, QueueName=f"meridian-{name}")


def table(metric: str, name: str, **dimensions: str) -> Metric:
    return Metric.of("AWS/DynamoDB", metric, TableName=f"meridian-{name}", **dimensions)


def each(minutes: range, value: float) -> dict[int, list[float]]:
    return {minute: [value] for minute in minutes}


def healthy(minutes: range) -> dict[Metric, dict[int, list[float]]]:
    """An idle region that is well: heartbeats, and what they let others say of themselves."""
    found: dict[Metric, dict[int, list[float]]] = {
        meridian("Heartbeats"): each(minutes, 1),
        meridian("Quarantined"): each(minutes, 0),
    }
    for peer in (WEST, SOUTH):
        found[meridian("HeartbeatAge", link=f"{peer}>{EAST}")] = {minute: [30 + minute % 31] for minute in minutes}
        found[meridian("ReplicationLag", link=f"{EAST}>{peer}")] = each(minutes, 900)
        found[queue("ApproximateAgeOfOldestMessage", f"backlog-{peer}")] = each(minutes, 0)
    for reader in ("replicator", "projector", "publish"):
        # A heartbeat is not at the same second of each minute: now and then one minute has two, and the next has none.
        found[function("IteratorAge", reader)] = {minute: [300.0] for minute in minutes if minute % 7}
    for name in FUNCTIONS:
        found[function("Errors", name)] = each(minutes, 0)
        found[function("Throttles", name)] = each(minutes, 0)
    for name in ("dead-letters", "failed-batches"):
        found[queue("ApproximateNumberOfMessagesVisible", name)] = each(minutes, 0)
    found[queue("ApproximateAgeOfOldestMessage", "backlog-views")] = each(minutes, 0)
    found[meridian("PublishLag")] = each(minutes, 400)
    found[table("AgeOfOldestUnreplicatedRecord", "events")] = each(minutes, 40)
    return found


@dataclass(frozen=True)
class Failure:
    """What a failure changes, from minute HEALTHY on: metrics that have other values, or none. `message` is the alarm that
    sends, `topic` where to, `alone` whether no other alarm is in the same state, `within` how many minutes it takes at most,
    `stays` whether the alarm outlives the failure."""

    message: str
    changes: Mapping[Metric, float | None]
    topic: str = PAGE
    within: int = WITHIN
    stays: bool = False
    growing: frozenset[Metric] = frozenset()


def age_of(peer: str) -> Metric:
    return meridian("HeartbeatAge", link=f"{peer}>{EAST}")


def silent(*readers: str) -> dict[Metric, float | None]:
    return {function("IteratorAge", reader): None for reader in readers}


def grows(message: str, metric: Metric, more: Mapping[Metric, float | None] | None = None, **named: int) -> Failure:
    """A failure with a metric that grows by a minute each minute, in the metric's unit (given as what a minute adds)."""
    return Failure(message, {metric: None, **(more or {})}, growing=frozenset([metric]), **named)  # type: ignore[arg-type]


UNIT = {"HeartbeatAge": 60, "BacklogAge": 60, "ApproximateAgeOfOldestMessage": 60}
"""Growth of a metric in a minute: seconds; milliseconds for others."""

JOINED = {"catch-up": "replicator", "redrive": "replicator", "projector-catch-up": "projector", "publish": "publisher"}
"""Composite alarms of functions of another name."""

FAILURES: dict[str, Failure] = {
    f"replication-lag-{WEST}": Failure(f"peer-{WEST}", {meridian("ReplicationLag", link=f"{EAST}>{WEST}"): 61_000}),
    f"heartbeat-{WEST}": grows(f"peer-{WEST}", age_of(WEST)),
    f"backlog-age-{WEST}": Failure(f"peer-{WEST}", {meridian("BacklogAge", link=f"{EAST}>{WEST}"): 301}),
    f"backlog-stuck-{WEST}": grows(f"peer-{WEST}", queue("ApproximateAgeOfOldestMessage", f"backlog-{WEST}"), within=35),
    f"replication-lag-{SOUTH}": Failure(f"peer-{SOUTH}", {meridian("ReplicationLag", link=f"{EAST}>{SOUTH}"): 61_000}),
    f"heartbeat-{SOUTH}": grows(f"peer-{SOUTH}", age_of(SOUTH)),
    f"backlog-age-{SOUTH}": Failure(f"peer-{SOUTH}", {meridian("BacklogAge", link=f"{EAST}>{SOUTH}"): 301}),
    f"backlog-stuck-{SOUTH}": grows(f"peer-{SOUTH}", queue("ApproximateAgeOfOldestMessage", f"backlog-{SOUTH}"), within=35),
    "backlog-stuck-views": grows("projector", queue("ApproximateAgeOfOldestMessage", "backlog-views"), within=35),
    "no-heartbeat": Failure("heartbeat", {meridian("Heartbeats"): None, age_of(WEST): None, age_of(SOUTH): None}),
    "quarantine": Failure("quarantine", {meridian("Quarantined"): 1}),
    "dead-letters": Failure("dead-letters", {queue("ApproximateNumberOfMessagesVisible", "dead-letters"): 1}, TICKET),
    "failed-batches": Failure("replicator", {queue("ApproximateNumberOfMessagesVisible", "failed-batches"): 1}, within=16),
    "projection-failures": Failure("projection-failures", {meridian("ProjectionFailures"): 1}, TICKET),
    "throttles-events": Failure("throttles-events", {table("WriteThrottleEvents", "events"): 11}, TICKET),
    "throttles-control": Failure("throttles-control", {table("ReadThrottleEvents", "control"): 11}, TICKET),
    "throttles-views": Failure("throttles-views", {table("WriteThrottleEvents", "views"): 11}, TICKET),
    "throttles-keys": Failure("throttles-keys", {table("ReadThrottleEvents", "keys"): 11}, TICKET),
    "publish-lag": Failure("publisher", {meridian("PublishLag"): 61_000}),
    "bus-age": Failure("publisher", {table("AgeOfOldestUnreplicatedRecord", "events"): 301_000}),
    **{f"iterator-age-{name}": Failure(
        JOINED.get(name, name), {function("IteratorAge", name): 301_000}
    ) for name in ("replicator", "projector", "publish")},
    **{f"errors-{name}": Failure(JOINED.get(name, name), {function("Errors", name): 1}) for name in FUNCTIONS},
    **{f"throttled-{name}": Failure(JOINED.get(name, name), {function("Throttles", name): 1}) for name in FUNCTIONS},
    "events-changed": Failure("events-changed", {meridian("EventsChanged"): 1}, stays=True),
}  # fmt: skip
"""A failure for each metric alarm, by its name."""

CASES: dict[str, Failure] = {
    "reads of the index are throttled": Failure(
        "throttles-events", {table("ReadThrottleEvents", "events", GlobalSecondaryIndexName="lanes"): 11}, TICKET
    ),
    "writes to the index are throttled": Failure(
        "throttles-events", {table("WriteThrottleEvents", "events", GlobalSecondaryIndexName="lanes"): 11}, TICKET
    ),
    "the replicator's mapping is disabled, its poller stalled, or it may not read": Failure(
        "replicator", silent("replicator")
    ),
    "the replicator's function is throttled for good": Failure(
        "replicator", {function("Throttles", "replicator"): 40, **silent("replicator")}
    ),
    "the replicator may not write to a peer": Failure(
        f"peer-{WEST}",
        {meridian("ReplicationLag", link=f"{EAST}>{WEST}"): 400_000, meridian("BacklogAge", link=f"{EAST}>{WEST}"): 400},
    ),
    "the projector's mapping is disabled": Failure("projector", silent("projector")),
    "the heartbeat's function is throttled": Failure(
        "heartbeat",
        {function("Throttles", "heartbeat"): 1, meridian("Heartbeats"): None, age_of(WEST): None, age_of(SOUTH): None},
    ),
    "the heartbeat's rule is disabled, and nobody else writes": Failure(
        # The peers' heartbeats go on, and so do those who read the stream.
        "heartbeat",
        {meridian("Heartbeats"): None, age_of(WEST): None, age_of(SOUTH): None},
    ),
    "a peer's replicator stands still": grows(f"peer-{WEST}", age_of(WEST)),
    "a peer is dead": grows(
        f"peer-{WEST}",
        age_of(WEST),
        {
            meridian("ReplicationLag", link=f"{EAST}>{WEST}"): 400_000,
            meridian("BacklogAge", link=f"{EAST}>{WEST}"): 400,
            queue("ApproximateAgeOfOldestMessage", f"backlog-{WEST}"): 2_000,
        },
    ),
}
"""Failures as they come, of which each sets off several alarms or leaves metrics without values."""


def struck(failure: Failure, health: int = 0) -> dict[Metric, dict[int, list[float]]]:
    """Health, the failure, and health for `health` minutes."""
    end = HEALTHY + STRUCK
    history = healthy(range(end + health))
    for metric, value in failure.changes.items():
        values = history.setdefault(metric, {})
        for minute in range(HEALTHY, end):
            if metric in failure.growing:
                values[minute] = [float((minute - HEALTHY + 1) * UNIT.get(metric.name, 60_000))]
            elif value is None:
                values.pop(minute, None)
            elif not failure.stays or minute == HEALTHY:
                values[minute] = [value]
    return history


@pytest.fixture(scope="module")
def alarms() -> Iterator[tuple[list[Alarm], list[Composite]]]:
    with World([EAST], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
        terraform = Terraform(world.logs, world.logs / "terraform.log")
        terraform.init([EAST])
        changes = terraform.plan(world.settings(EAST), {
            "region": EAST, "peers": [WEST, SOUTH], "package": str(ROOT / "terraform" / "tests" / "package.zip"),
            "projections": ["shop.views:Orders"], "external": {"transformation": "shop.external:Orders"},
            "api": {"enabled": True}, "personal_data": {"key": "mrk-1234abcd12ab34cd56ef1234567890ab"},
        })  # fmt: skip
        planned = [(change["type"], change["change"]["after"]) for change in changes]
        yield (
            [Alarm.of(after) for kind, after in planned if kind == "aws_cloudwatch_metric_alarm"],
            [Composite.of(after) for kind, after in planned if kind == "aws_cloudwatch_composite_alarm"],
        )


def evaluated(alarms: tuple[list[Alarm], list[Composite]], history: History, minutes: range) -> Evaluation:
    evaluation = Evaluation(*alarms)
    evaluation.run(history, minutes)
    return evaluation


def test_every_alarm_has_its_failure(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    assert {alarm.name.removeprefix("meridian-") for alarm in alarms[0]} == set(FAILURES)
    sending = {each.name.removeprefix("meridian-") for each in (*alarms[0], *alarms[1]) if each.actions}
    assert sending == {failure.message for failure in FAILURES.values()}


def test_a_region_that_is_well_and_idle_sends_nothing(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    evaluation = evaluated(alarms, healthy(range(300)), range(10, 300))
    assert evaluation.sent == []
    assert evaluation.alarming() == set()


def test_a_region_that_is_fenced_sends_nothing(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    """It writes nothing. The heartbeats of its peers call its replicator all the same."""
    history = healthy(range(300))
    for peer in (WEST, SOUTH):
        del history[meridian("ReplicationLag", link=f"{EAST}>{peer}")]
    assert evaluated(alarms, history, range(10, 300)).sent == []


@pytest.mark.parametrize("name", FAILURES)
def test_the_failure_of_an_alarm_sends_one_message_in_time(alarms: tuple[list[Alarm], list[Composite]], name: str) -> None:
    failure = FAILURES[name]
    evaluation = evaluated(alarms, struck(failure), range(10, HEALTHY + STRUCK))
    assert f"meridian-{name}" in evaluation.alarming()
    ((minute, sender, topic),) = evaluation.sent
    assert (sender, topic) == (f"meridian-{failure.message}", failure.topic)
    assert minute - HEALTHY < failure.within
    evaluation.run(struck(failure, 30), range(HEALTHY + STRUCK, HEALTHY + STRUCK + 30))
    assert evaluation.alarming() == ({f"meridian-{name}"} if failure.stays else set()), (
        "and health ends it, or nothing but a person does"
    )
    assert len(evaluation.sent) == 1


@pytest.mark.parametrize("name", CASES)
def test_a_failure_with_many_signs_sends_one_message_in_time(alarms: tuple[list[Alarm], list[Composite]], name: str) -> None:
    failure = CASES[name]
    evaluation = evaluated(alarms, struck(failure), range(10, HEALTHY + STRUCK))
    assert [(sender, topic) for _, sender, topic in evaluation.sent] == [(f"meridian-{failure.message}", failure.topic)]
    assert evaluation.sent[0][0] - HEALTHY < failure.within


def test_a_key_that_is_disabled_pages_and_the_topic_does_not_need_it(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    """No table can be used, no function begins: each of the region's parts falls silent."""
    gone = {metric: None for metric in healthy(range(1)) if metric.namespace in ("Meridian", "AWS/Lambda")}
    evaluation = evaluated(alarms, struck(Failure("", gone)), range(10, HEALTHY + STRUCK))
    assert Counter(sender for _, sender, _ in evaluation.sent) == {
        f"meridian-{name}": 1 for name in ("heartbeat", "replicator", "projector", "publisher")
    }
    assert max(minute for minute, _, _ in evaluation.sent) - HEALTHY < WITHIN


def test_what_a_person_has_looked_into_is_quiet_until_it_happens_again(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    failure = FAILURES["events-changed"]
    history = struck(failure, 60)
    history[meridian("EventsChanged")][HEALTHY + STRUCK + 30] = [2]
    evaluation = evaluated(alarms, history, range(10, HEALTHY + STRUCK))
    evaluation.states["meridian-events-changed"] = "OK"  # aws cloudwatch set-alarm-state
    evaluation.run(history, range(HEALTHY + STRUCK, HEALTHY + STRUCK + 60))
    assert [minute for minute, _, _ in evaluation.sent] == [HEALTHY, HEALTHY + STRUCK + 30]


def test_the_documents_list_every_alarm(alarms: tuple[list[Alarm], list[Composite]]) -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    section = page[page.index("\n## Alarms") : page.index("\n## ", page.index("\n## Alarms") + 1)]
    listed = set(re.findall(r"`([a-z-]+(?:<[a-z]+>)?)`", section))
    for alarm in (*alarms[0], *alarms[1]):
        name = alarm.name.removeprefix("meridian-")
        for found, word in ((rf"-({WEST}|{SOUTH})$", "-<peer>"), (rf"-({'|'.join(FUNCTIONS)})$", "-<function>")):
            name = re.sub(found, word, name) if name not in listed else name
        name = re.sub(r"^throttles-(events|control|views|keys)$", "throttles-<table>", name)
        assert name in listed, alarm.name
