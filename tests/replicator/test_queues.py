"""Queues as SQS has them, and the functions on real queues, tables and streams: what fails is replayed until it is done."""

from __future__ import annotations

import json
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

import projectors.handlers
import replicator.handlers
from chaos.world.servers import postgresql
from chaos.world.world import World, WorldOptions, free_ports
from projectors import Projection, counter, register
from projectors.connect import connect_inbound
from projectors.model.view import ViewKey
from projectors.run.invocation import Inbound
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.opening import prepare
from projectors.sinks.postgresql import PostgresSink
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.sqs import MAX_DELAY, Queue, QueueBacklog, dead_letters, replay
from replicator.aws.tables import create_tables
from replicator.connect import connect_link, connect_outbound, connect_store
from replicator.control.backlog import VIEWS, TableBacklog
from replicator.control.pointers import Pointers, Spans, join
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import MAX_SEQUENCE, LaneId, StreamId
from replicator.replication.invocation import Outbound
from replicator.replication.link import Link
from replicator.replication.refusals import Refusals
from replicator.replication.worker import LinkThread
from replicator.runtime.settings import Settings
from tests.processes import comes_back
from tests.regions import activate

pytestmark = pytest.mark.emulator

EAST, WEST = "us-east-1", "eu-west-1"
TO_WEST, TO_VIEWS = f"{EAST}>{WEST}", f"{EAST}>{VIEWS}"
SECRET = "correct horse battery staple"
QUEUES = (f"backlog-{WEST}", f"backlog-{VIEWS}", "dead-letters", "failed-batches")
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}


def lane(name: str, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("member", name))


@pytest.fixture(autouse=True)
def empty_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator has one server: a queue that answers with nothing is empty."""
    monkeypatch.setattr("replicator.aws.sqs.LONG_POLL", 0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One emulator process; it keeps what belongs to different regions apart."""
    with World([EAST], options=WorldOptions(workers=False, services="dynamodb,dynamodbstreams,sqs")) as world:
        yield str(world.settings(EAST).endpoint(EAST))


@pytest.fixture
def settings(url: str) -> Settings:
    """Settings of us-east-1 with empty queues of its own."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    made = Settings(EAST, (WEST,), prefix, {EAST: url, WEST: url}, attempts=2, connect_timeout=1, read_timeout=5)
    for name in QUEUES:
        sqs(made).create_queue(QueueName=f"{prefix}-{name}", Attributes={"VisibilityTimeout": "1"})
    return made


def sqs(settings: Settings) -> Any:
    return clients.sqs(settings, EAST)


def down(settings: Settings, region: str) -> Settings:
    """The same, but nobody listens where `region` should be."""
    (port,) = free_ports(1)
    return replace(settings, endpoints={**settings.endpoints, region: f"http://127.0.0.1:{port}"})


def bodies(settings: Settings, name: str, seconds: float = 0.0, keep: bool = False) -> list[str]:
    """Takes what is on a queue; looks again for up to `seconds` while there is nothing. `keep`: only looks, at ten."""
    queue = sqs(settings)
    url = queue.get_queue_url(QueueName=f"{settings.prefix}-{name}")["QueueUrl"]
    if keep:
        answer = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [message["Body"] for message in answer.get("Messages", [])]
    found: list[str] = []
    end = time.monotonic() + seconds
    while True:
        messages = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            found.append(message["Body"])
            queue.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        if not messages:
            if found or time.monotonic() >= end:
                return found
            time.sleep(0.1)


def waiting(settings: Settings, target: str, seconds: float = 0.0) -> list[Pointers]:
    return [Pointers.parse(body) for body in bodies(settings, f"backlog-{target}", seconds)]


# -- a queue -----------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_taken_and_comes_back_until_it_is_done(settings: Settings) -> None:
    queue = Queue(settings, "dead-letters")
    texts = {f"{n} Zoë 🦄 \\ \"'<&>%23\n\t" for n in range(25)} | {"x" * 262_144}
    for text in texts:
        queue.send(text)
    first = list(queue.take())
    assert sorted(text for text, _ in first) == sorted(texts)
    for text, receipt in first:
        if not text.startswith("7"):
            queue.done(receipt)
    time.sleep(1.1)
    again = list(queue.take())
    assert {text[0] for text, _ in again} == {"7"}
    for _, receipt in again:
        queue.done(receipt)
        queue.done(receipt)  # told twice: killed before it knew
    time.sleep(1.1)
    assert list(queue.take()) == []


def test_taking_ends_though_what_is_taken_comes_back_all_the_while(settings: Settings) -> None:
    """A person replays a queue of letters that all stay; a timeout shorter than the work must not make it endless."""
    queue = Queue(settings, "dead-letters")
    for n in range(25):
        queue.send(str(n))
    taken = []
    for text, _ in queue.take():
        taken.append(text)
        time.sleep(0.06)
    assert len(taken) == len(set(taken)) >= 10


def test_a_queue_that_is_not_there_is_a_setting_to_correct(settings: Settings) -> None:
    missing = replace(settings, peers=("ap-south-1",))
    backlog = QueueBacklog.connect(missing, "ap-south-1")
    for use in (
        lambda: backlog.defer({lane("homer"): (1, 1)}, 7),
        lambda: list(dead_letters(replace(settings, prefix="no")).take()),
    ):
        with pytest.raises(InvalidConfig, match=r"queue \S+ does not exist in us-east-1; run `terraform apply`"):
            use()


def test_a_region_that_does_not_answer_is_unavailable_soon_and_used_again_when_it_does(settings: Settings) -> None:
    queue = Queue(down(settings, EAST), "dead-letters")
    for use in (lambda: queue.send("x"), lambda: list(queue.take()), lambda: queue.done("receipt")):
        with pytest.raises(RegionUnavailable):
            comes_back(use)


def test_connecting_asks_nobody(settings: Settings) -> None:
    """A function starts, and copies to others, also while its own queues do not answer."""
    QueueBacklog.connect(down(settings, EAST), WEST)


def test_lanes_of_any_number_and_name_are_deferred_and_read_back(settings: Settings) -> None:
    names = ["x" * 1024, '"' * 1024, "\\" * 1024, "數" * 341, "🦄" * 256, "a\uffff", "a\ufffe", "a b", "<&>", "%23"]
    whole: Spans = {lane(name): (1, MAX_SEQUENCE) for name in names} | {
        lane(f"{'é' * 300}{n}"): (n, n) for n in range(1, 400)
    }
    QueueBacklog.connect(settings, WEST).defer(whole, 1_763_914_981_123)
    found = waiting(settings, WEST)
    assert join(p.lanes for p in found) == whole
    assert {(p.link, p.since, p.tries) for p in found} == {(TO_WEST, 1_763_914_981_123, 0)}
    QueueBacklog.connect(settings, WEST).defer({}, 7)
    assert waiting(settings, WEST) == []


def test_what_failed_before_rests_a_while(settings: Settings) -> None:
    backlog = QueueBacklog.connect(settings, VIEWS)
    backlog.defer({lane("homer"): (1, 2)}, 7, 1)
    assert waiting(settings, VIEWS) == []
    assert waiting(settings, VIEWS, 5) == [Pointers(TO_VIEWS, {lane("homer"): (1, 2)}, 7, 1)]
    for tries in (5, 6, 100, 10**9):
        backlog.defer({lane("homer"): (1, 2)}, 7, tries)  # SQS takes the delay
    assert MAX_DELAY <= 30


# -- replay ------------------------------------------------------------------------------------------------------------


def letter(link: str, name: str = "homer", **cause: str) -> str:
    return str(Pointers(link, {lane(name): (2, 3)}, 7_000, 9, cause))


STRANGE = {
    "another region's": letter(f"{WEST}>{EAST}"),
    "of no link": letter("mars"),
    "of a peer that was removed": letter(f"{EAST}>ap-south-1"),
    "of another version": letter(TO_WEST).replace('"v":1', '"v":2'),
    "a failed batch": '{"requestContext":{"functionArn":"x"},"DDBStreamBatchInfo":{}}',
    "no JSON": "hello",
    "deep": "[" * 50_000,
}


def test_replay_sends_each_letter_to_where_it_came_from_and_leaves_what_is_not_its_own(settings: Settings) -> None:
    letters = dead_letters(settings)
    own = {TO_WEST: letter(TO_WEST), TO_VIEWS: letter(TO_VIEWS, "marge", event="member x", error="KeyError")}
    for text in (*STRANGE.values(), *own.values()):
        letters.send(text)
    seen = list(replay(settings, letters))
    assert sorted(text for text, _ in seen) == sorted([*STRANGE.values(), *own.values()])
    assert {p.link: str(p) for _, p in seen if p is not None} == own
    assert [(p.lanes, p.since, p.tries) for p in waiting(settings, WEST)] == [({lane("homer"): (2, 3)}, 7_000, 0)]
    assert [(p.lanes, p.since, p.tries) for p in waiting(settings, VIEWS)] == [({lane("marge"): (2, 3)}, 7_000, 0)]
    time.sleep(1.1)
    assert sorted(bodies(settings, "dead-letters")) == sorted(STRANGE.values())


def test_replay_that_is_killed_or_has_no_backlog_loses_no_letter(settings: Settings) -> None:
    letters = dead_letters(settings)
    for n in range(12):
        letters.send(letter(TO_WEST, f"m{n}"))
    began = replay(settings, letters)
    next(began)
    began.close()  # type: ignore[attr-defined]
    queue = sqs(settings)
    name = f"{settings.prefix}-backlog-{WEST}"
    before = join(p.lanes for p in waiting(settings, WEST))
    queue.delete_queue(QueueUrl=queue.get_queue_url(QueueName=name)["QueueUrl"])
    time.sleep(1.1)
    with pytest.raises(InvalidConfig):
        list(replay(settings, letters))
    queue.create_queue(QueueName=name)
    time.sleep(1.1)
    list(replay(settings, letters))
    after = join([before, *(p.lanes for p in waiting(settings, WEST))])
    assert after == {lane(f"m{n}"): (2, 3) for n in range(12)}
    assert list(replay(settings, letters)) == []


# -- the functions, on real queues, tables and streams -----------------------------------------------------------------


class Member(Projection):
    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)


class StillWrong(Projection):
    name, stream_type, version = "member", "member", 2
    called = register(joined=lambda p: p["names"][0])
    visits = counter(visited=lambda p: 1)


class Mended(Projection):
    name, stream_type, version = "member", "member", 3
    called = register(joined=lambda p: p.get("name", "nobody"))
    visits = counter(visited=lambda p: 1)


@dataclass
class Context:
    left: int = 100_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left


class Region:
    """us-east-1 with real tables, as its functions and its operator have it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for region in (EAST, WEST):
            fresh = replace(settings, region=region, peers=(EAST if region == WEST else WEST,))
            create_tables(fresh)
            DynamoSink(fresh).create_table()
        activate(settings)
        self.store, self.peer = connect_store(settings), DynamoStorage(settings, WEST)
        self.sink, self.read = DynamoSink(settings), 0

    def append(self, name: str, kind: str, /, **payload: Any) -> Event:
        return self.store.append(f"member/{name}", NewEvent(kind, {"secret": SECRET, **payload}))[0]

    def records(self) -> dict[str, Any]:
        """What the stream has had since the last call, as Lambda hands it over."""
        client: Any = clients.streams(self.settings, EAST)
        arn = next(
            each["StreamArn"]
            for each in client.list_streams(TableName=self.settings.events_table)["Streams"]
            if each["TableName"] == self.settings.events_table
        )
        shard = client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        where = client.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        found = client.get_records(ShardIterator=where)["Records"]
        fresh, self.read = found[self.read :], len(found)
        text: str = json.dumps(fresh, default=lambda v: b64encode(v).decode() if isinstance(v, bytes) else str(v))
        return {"Records": json.loads(text)}

    def backlog(self, target: str, seconds: float = 0.0) -> dict[str, Any]:
        found = bodies(self.settings, f"backlog-{target}", seconds)
        assert not any("horse" in body for body in found)
        return {"Records": [{"messageId": f"m{n}", "body": body} for n, body in enumerate(found)]}

    def letters(self) -> list[Pointers]:
        """What a person sees there; it stays."""
        found = bodies(self.settings, "dead-letters", keep=True)
        assert not any("horse" in text for text in found)
        return [Pointers.parse(text) for text in found]

    def quarantined(self) -> list[str]:
        found = Quarantine(DynamoControl(self.settings), TO_VIEWS).records()
        assert "horse" not in json.dumps(found)
        return [key for key, _ in found]

    def view(self, name: str) -> dict[str, Any] | None:
        """As the latest version that has folded it shows it."""
        found = self.sink.load([ViewKey("member", f"member/{name}", version) for version in (1, 2, 3)])
        return found[max(found, key=lambda key: key.version)].value if found else None

    def inbound(self, *projections: type[Projection]) -> Inbound:
        return connect_inbound(self.settings, projections, lambda dimensions, values: None)


@pytest.fixture
def region(settings: Settings) -> Region:
    return Region(settings)


@pytest.fixture
def functions(region: Region, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    """The handlers, with the environment that Terraform gives them."""
    settings = region.settings
    environment = {
        "REGION": EAST, "PEERS": WEST, "PREFIX": settings.prefix, "ATTEMPTS": "2",
        "ENDPOINTS": ",".join(f"{name}={url}" for name, url in settings.endpoints.items()),
        "PROJECTIONS": f"{__name__}:Member",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(f"MERIDIAN_{name}", value)
    monkeypatch.setattr("replicator.runtime.logs.configure_logs", lambda: None)
    made = (replicator.handlers._outbound, replicator.handlers._redrive, projectors.handlers._inbound)
    monkeypatch.setattr("projectors.handlers.read_projections", lambda: [Member])
    for each in made:
        each.cache_clear()
    yield region
    for each in made:
        each.cache_clear()


def test_the_functions_copy_and_fold_what_the_stream_has_and_tell_metrics(
    functions: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [functions.append("homer", "joined", name="Homer"), functions.append("homer", "visited")]
    batch = functions.records()
    assert replicator.handlers.replicate(batch, Context()) == ALL_IS_WELL
    assert projectors.handlers.project(batch, Context()) == ALL_IS_WELL
    assert list(functions.peer.read(lane("homer"))) == events
    assert functions.view("homer") == {"called": "Homer", "visits": 1}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {name for line in lines for name in line} >= {"EventsCopied", "ReplicationLag", "EventsProjected", "Quarantined"}
    assert not any("horse" in json.dumps(line) for line in lines)

    events.append(functions.append("homer", "visited"))  # a batch that was given up comes back by its place in the stream
    number = functions.records()["Records"][0]["dynamodb"]["SequenceNumber"]
    client: Any = clients.streams(functions.settings, EAST)
    arn = clients.dynamodb(functions.settings, EAST).describe_table(TableName=functions.settings.events_table)["Table"]
    shard = client.describe_stream(StreamArn=arn["LatestStreamArn"])["StreamDescription"]["Shards"][0]["ShardId"]
    where = {
        "streamArn": arn["LatestStreamArn"],
        "shardId": shard,
        "startSequenceNumber": number,
        "endSequenceNumber": number,
    }
    for function in ("meridian-replicator", "meridian-projector:live"):
        context = {"functionArn": f"arn:aws:lambda:{EAST}:000000000000:function:{function}"}
        body = json.dumps({"requestContext": context, "DDBStreamBatchInfo": where})
        assert replicator.handlers.redrive({"Records": [{"messageId": "m", "body": body}]}, Context()) == ALL_IS_WELL
    assert replicator.handlers.catch_up(functions.backlog(WEST), Context()) == ALL_IS_WELL
    assert projectors.handlers.catch_up(functions.backlog(VIEWS), Context()) == ALL_IS_WELL
    assert list(functions.peer.read(lane("homer"))) == events
    assert functions.view("homer") == {"called": "Homer", "visits": 2}


def test_a_peer_that_is_down_finds_everything_on_its_backlog(region: Region) -> None:

    def quiet(dimensions: Any, values: Any) -> None: ...

    broken = connect_outbound(replace(down(region.settings, WEST), connect_timeout=0.5), quiet)
    for n in range(3):
        region.append("homer", "visited", n=n)
        region.append(f"marge{n}", "visited")
        assert broken.replicate(region.records()["Records"]) == ALL_IS_WELL
    assert list(region.peer.lanes()) == []
    found = region.backlog(WEST)["Records"]
    assert broken.catch_up(found, lambda: True) == ALL_IS_WELL, "still down: deferred anew"
    whole = connect_outbound(region.settings, quiet)
    assert whole.catch_up(region.backlog(WEST, 5)["Records"], lambda: True) == ALL_IS_WELL
    assert dict(region.peer.lanes()) == {lane("homer"): 3, lane("marge0"): 1, lane("marge1"): 1, lane("marge2"): 1}
    assert region.backlog(WEST)["Records"] == []


@pytest.mark.parametrize("kind", ["table", "queue"])
@pytest.mark.parametrize("driver", ["thread", "function"])
def test_every_driver_brings_over_what_waits_on_every_backlog(region: Region, driver: str, kind: str) -> None:
    control = DynamoControl(region.settings)

    def link(settings: Settings) -> Link:
        backlog = QueueBacklog.connect(settings, WEST) if kind == "queue" else TableBacklog(control, TO_WEST)
        return connect_link(settings, WEST, DynamoStorage(settings), control, backlog, pool, lambda *_: None)

    def waits() -> bool:
        return bool(bodies(region.settings, f"backlog-{WEST}", keep=True) or TableBacklog(control, TO_WEST).page(1))

    with ThreadPoolExecutor(2) as pool:
        events = [region.append("homer", "visited", n=n) for n in range(3)]
        assert link(down(region.settings, WEST)).deliver(events) == []
        assert list(region.peer.lanes()) == []
        assert waits()
        whole = link(region.settings)
        if driver == "thread":
            thread = LinkThread(whole)
            for _ in range(3):
                thread.turn()
        else:
            function = Outbound(EAST, {TO_WEST: whole}, Refusals(EAST, control, [EAST], lambda *_: None))
            messages = region.backlog(WEST)["Records"] if kind == "queue" else []
            assert function.catch_up(messages, lambda: True) == ALL_IS_WELL
        assert list(region.peer.read(lane("homer"))) == events
        assert not waits()


def test_a_function_feeds_a_secondary_sink_and_brings_it_up_by_the_views_queue(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql() as server:
        prepare(server.url, region.settings)
        monkeypatch.setenv("MERIDIAN_SINKS", f"dynamodb {server.url}")
        inbound, second = region.inbound(Member), PostgresSink(server.url, region.settings)
        feed = inbound.projector.feeds[1]
        region.append("homer", "joined", name="Homer")
        assert inbound.project(region.records()["Records"]) == ALL_IS_WELL
        feed._rests_until = float("inf")  # as after a failure
        region.append("homer", "visited")
        assert inbound.project(region.records()["Records"]) == ALL_IS_WELL

        def views() -> list[Any]:
            return [sink.load([ViewKey("member", "member/homer")]) for sink in (region.sink, second)]

        assert views()[0] != views()[1]
        messages = region.backlog(VIEWS, 5)["Records"]
        assert [Pointers.parse(message["body"]).link for message in messages] == [feed.link]
        assert inbound.catch_up(messages, lambda: True) == ALL_IS_WELL
        assert views()[0] == views()[1]
        assert region.view("homer") == {"called": "Homer", "visits": 1}
        second.close()


def poison(region: Region) -> Event:
    """One poison event that has been met, with others behind it and beside it."""

    event = region.append("marge", "joined", nickname="Marge")
    region.append("marge", "visited")
    region.append("bart", "joined", name="Bart")
    records = region.records()["Records"]
    for _ in range(3):
        assert region.inbound(Member).project(records) == ALL_IS_WELL
    (letter,) = region.letters()
    assert dict(letter.lanes) == {lane("marge"): (1, 1)}
    assert letter.cause["event"] == f"member {event.id}"
    assert "KeyError at test_queues.py:" in letter.cause["error"]
    assert region.quarantined() == [f"member {event.id}"]
    assert (region.view("marge"), region.view("bart")) == (None, {"called": "Bart", "visits": 0})
    return event


def test_poison_is_replayed_after_the_fix(region: Region) -> None:
    event = poison(region)
    ((_, found),) = replay(region.settings, dead_letters(region.settings))
    assert found is not None
    assert event.id in found.cause["event"]
    assert region.inbound(Mended).catch_up(region.backlog(VIEWS)["Records"], lambda: True) == ALL_IS_WELL
    assert region.view("marge") == {"called": "nobody", "visits": 1}
    assert (region.quarantined(), region.letters(), region.backlog(VIEWS)["Records"]) == ([], [], [])


@pytest.mark.parametrize("still", [Member, StillWrong])
def test_poison_that_fails_again_after_a_replay_comes_back_to_the_dead_letters(
    region: Region, still: type[Projection]
) -> None:
    poison(region)
    for _ in range(2):
        assert len(list(replay(region.settings, dead_letters(region.settings)))) == 1
        assert region.inbound(still).catch_up(region.backlog(VIEWS)["Records"], lambda: True) == ALL_IS_WELL
        assert len(region.quarantined()) == 1
        assert len(region.letters()) == 1, "nobody could replay it any more"
    list(replay(region.settings, dead_letters(region.settings)))
    region.inbound(Mended).catch_up(region.backlog(VIEWS)["Records"], lambda: True)
    assert region.view("marge") == {"called": "nobody", "visits": 1}
    assert (region.quarantined(), region.letters()) == ([], [])
