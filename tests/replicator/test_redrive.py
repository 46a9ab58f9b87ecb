"""Batches that were given up: what was in them waits again, from the stream while it has them, from the lanes when not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError, ReadTimeoutError

from chaos.world.world import World, WorldOptions
from replicator.aws import clients
from replicator.aws.redrive import Redrive, reconcile
from replicator.aws.sqs import QueueBacklog
from replicator.connect import connect_redrive, connect_store
from replicator.control.backlog import VIEWS
from replicator.control.memory_control import MemoryControl
from replicator.control.pointers import Pointers, Spans, join
from replicator.control.suspects import Suspects
from replicator.domain.clock import Hlc
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.replication.lambda_batches import item_failures
from replicator.runtime.settings import Settings
from tests.regions import activate

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}
REPLICATOR = f"arn:aws:lambda:{EAST}:123456789012:function:meridian-replicator"
PROJECTOR = f"arn:aws:lambda:{EAST}:123456789012:function:meridian-projector"
STREAM = f"arn:aws:dynamodb:{EAST}:123456789012:table/meridian-events/stream/2026-01-01T00:00:00.000"
BASE = 4_000_000_000_000_000_000_000  # sequence numbers are longer than 64 bits


def lane(name: str, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("user", name))


HOMER, MARGE, COPY = lane("homer"), lane("marge"), lane("homer", WEST)
LANES: Spans = {HOMER: (1, 3), MARGE: (1, 1), COPY: (1, 2)}
EACH: Spans = dict.fromkeys(LANES, (1, 1))
"""Every lane, to be compared whole."""
FAILED = 1_794_615_199_717
NOW = FAILED + 60_000


def event_of(where: LaneId, sequence: int) -> Event:
    return seal(where, sequence, Hlc(sequence, 0), NewEvent("x", {"secret": "horse"}), EMPTY, GENESIS)


def record(where: LaneId, sequence: int, number: int, name: str = "INSERT", **changed: Any) -> dict[str, Any]:
    item = to_item(event_of(where, sequence))
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": name, "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{BASE + number}", **changed}}


RECORDS = [
    record(HOMER, 1, 10),
    record(COPY, 1, 20),
    record(MARGE, 1, 30),
    record(HOMER, 2, 40),
    record(COPY, 2, 50),
    record(HOMER, 3, 60),
]


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetRecords")


@dataclass
class Shard:
    """A DynamoDB stream of one shard, as far as it is asked. `pages` are what each call gives; then the shard goes on
    (`open`) with empty pages, or ends."""

    pages: list[list[dict[str, Any]]]
    open: bool = True
    iterator_error: Exception | None = None
    page_errors: dict[int, Exception] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if self.iterator_error:
            raise self.iterator_error
        return {"ShardIterator": "0"}

    def get_records(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        number = int(request["ShardIterator"])
        if number in self.page_errors:
            raise self.page_errors[number]
        records = self.pages[number] if number < len(self.pages) else []
        more = self.open or number + 1 < len(self.pages)
        return {"Records": records, **({"NextShardIterator": str(number + 1)} if more else {})}


class Queue:
    name = "backlog"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.error: Exception | None = None

    def send(self, text: str, delay: int = 0) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(text)


class Bench:
    """The own region with two peers and its views; its table holds LANES."""

    def __init__(self, shard: Any) -> None:
        self.home, self.shard = MemoryStorage(), shard
        for where, (_, last) in LANES.items():
            self.home.insert_each([event_of(where, n) for n in range(1, last + 1)])
        self.queues = {target: Queue() for target in (WEST, SOUTH, VIEWS)}
        self.backlogs = {t: QueueBacklog(f"{EAST}>{t}", q) for t, q in self.queues.items()}  # type: ignore[arg-type]
        self.control = MemoryControl()
        self.redrive = self.of(self.home)

    def of(self, home: MemoryStorage) -> Redrive:
        self.again: list[str] = []
        return Redrive(
            EAST, (EAST, WEST, SOUTH), home, self.control, self.shard, self.backlogs, self.again.append, lambda: NOW
        )

    def waiting(self) -> dict[str, Spans]:
        """By target, what waits; nothing where no message was sent."""
        found = {t: [Pointers.parse(text) for text in q.sent] for t, q in self.queues.items() if q.sent}
        assert all(p.link == f"{EAST}>{t}" and (p.since, p.tries) == (NOW, 0) for t, ps in found.items() for p in ps)
        return {target: join(p.lanes for p in parts) for target, parts in found.items()}

    def sent(self) -> str:
        return json.dumps([queue.sent for queue in self.queues.values()])


def message(number: int = 1, first: int = 10, last: int = 60, function: str = REPLICATOR, **changed: Any) -> dict[str, Any]:
    """What Lambda puts on an on-failure destination for a stream: positions, no payload."""
    body = {
        "requestContext": {
            "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
            "functionArn": function,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 1,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2026-11-14T00:13:19.717Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-00000001573689847184-864758bb",
            "startSequenceNumber": f"{BASE + first}",
            "endSequenceNumber": f"{BASE + last}",
            "approximateArrivalOfFirstRecord": "2026-11-14T00:13:19Z",
            "approximateArrivalOfLastRecord": "2026-11-14T00:13:19Z",
            "batchSize": 6,
            "streamArn": STREAM,
            **changed,
        },
    }
    return {"messageId": f"m{number}", "body": json.dumps(body)}


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    before = structlog.get_config()
    lines: list[Any] = []
    structlog.configure(
        processors=[lambda _, __, entry: (lines.append(entry), "")[1]], logger_factory=structlog.ReturnLoggerFactory()
    )
    yield lines
    structlog.configure(**before)


# -- the stream still has it -------------------------------------------------------------------------------------------


def pages(*cuts: int) -> list[list[dict[str, Any]]]:
    return [RECORDS[a:b] for a, b in zip((0, *cuts), (*cuts, len(RECORDS)), strict=True)]


@pytest.mark.parametrize("paged", [pages(), pages(1, 2, 5), [[], [], *pages(3)], [*pages(5)[:1], [], [], *pages(5)[1:]]])
@pytest.mark.parametrize("open_", [True, False], ids=["open", "closed"])
def test_the_lanes_of_the_batch_wait_for_every_peer(paged: list[list[dict[str, Any]]], open_: bool) -> None:
    bench = Bench(Shard(paged, open_))
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting() == {peer: {HOMER: (1, 3), MARGE: (1, 1)} for peer in (WEST, SOUTH)}
    assert bench.shard.asked[0] == {
        "StreamArn": STREAM,
        "ShardId": "shardId-00000001573689847184-864758bb",
        "ShardIteratorType": "AT_SEQUENCE_NUMBER",
        "SequenceNumber": f"{BASE + 10}",
    }


@pytest.mark.parametrize(
    ("function", "projected"),
    [
        (REPLICATOR, False),
        (f"{REPLICATOR}:$LATEST", False),
        (f"{REPLICATOR}:7", False),
        (f"{REPLICATOR}:live-projector", False),
        (REPLICATOR.replace("meridian-", "x-projector-"), False),
        (PROJECTOR, True),
        (f"{PROJECTOR}:$LATEST", True),
        (f"{PROJECTOR}:live", True),
        (f"{PROJECTOR}:live-replicator", True),
        (PROJECTOR.replace("meridian-", "x-replicator-"), True),
        (PROJECTOR.replace("arn:aws:", "arn:aws-cn:"), True),
    ],
)
def test_what_the_projector_gave_up_waits_for_the_views_and_all_else_for_the_peers(function: str, projected: bool) -> None:
    for shard, expected in (
        (Shard([RECORDS]), LANES),
        (Shard([], iterator_error=error("TrimmedDataAccessException")), EACH),
    ):
        bench = Bench(shard)
        assert bench.redrive.redrive([message(function=function)]) == ALL_IS_WELL
        own = {where: span for where, span in expected.items() if where.region == EAST}
        assert bench.waiting() == ({VIEWS: expected} if projected else {WEST: own, SOUTH: own})


def test_a_part_of_the_shard_is_a_part_of_the_lanes() -> None:
    bench = Bench(Shard([RECORDS[2:4], RECORDS[4:]]))
    bench.redrive.redrive([message(first=30, last=40)])
    assert bench.waiting() == {peer: {HOMER: (2, 2), MARGE: (1, 1)} for peer in (WEST, SOUTH)}
    assert len(bench.shard.asked) == 2, "nothing behind the end is read"


def test_copies_alone_are_nothing_for_the_peers() -> None:
    bench = Bench(Shard([[RECORDS[1]]]))
    assert bench.redrive.redrive([message(first=20, last=20)]) == ALL_IS_WELL
    assert bench.waiting() == {}


@pytest.mark.parametrize("name", ["INSERT", "MODIFY", "REMOVE"])
def test_a_record_that_is_no_event_still_names_its_lane(name: str) -> None:
    bench = Bench(Shard([[record(HOMER, 2, 10, name, NewImage=None), record(MARGE, 1, 60)]]))
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting() == {peer: {HOMER: (2, 2), MARGE: (1, 1)} for peer in (WEST, SOUTH)}
    assert list(Suspects(bench.control).notes()) == [HOMER], "a comparison of regions looks at it"


@pytest.mark.parametrize("key", ["9" * 17, "0" * 16, "seven", "", "0" * 1024])
def test_a_stray_record_does_not_spoil_the_pointers_of_the_others(key: str) -> None:
    stray = record(HOMER, 2, 20)
    stray["dynamodb"]["Keys"]["sk"] = stray["dynamodb"]["NewImage"]["sk"] = {"S": key}
    unreadable = record(HOMER, 2, 30)
    unreadable["dynamodb"]["Keys"]["pk"] = {"S": "US-EAST-1#user#homer"}
    bench = Bench(Shard([[record(MARGE, 1, 10), stray, unreadable, record(HOMER, 3, 60)]]))
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting() == {peer: {HOMER: (3, 3), MARGE: (1, 1)} for peer in (WEST, SOUTH)}


# -- the stream has it no more -----------------------------------------------------------------------------------------

GONE = {
    "trimmed": Shard([], iterator_error=error("TrimmedDataAccessException")),
    "trimmed on the way": Shard([RECORDS[:2], []], page_errors={1: error("TrimmedDataAccessException")}),
    "shard or stream gone": Shard([], iterator_error=error("ResourceNotFoundException")),
    "a place that no stream has": Shard([], iterator_error=error("ValidationException")),
    "end not in the shard": Shard([RECORDS[:5]], open=False),
    "end not in the open shard": Shard([RECORDS[:5]]),
    "nothing in the shard": Shard([], open=False),
    "empty pages for ever": Shard([]),
    "a record beyond the end": Shard([RECORDS[:5], [record(HOMER, 3, 70)]]),
    "only a record beyond the end": Shard([[record(HOMER, 3, 61)]]),
}


@pytest.mark.parametrize("shard", GONE.values(), ids=GONE.keys())
def test_every_lane_waits_when_the_stream_does_not_give_all_of_it(shard: Shard) -> None:
    bench = Bench(shard)
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    own = {where: span for where, span in EACH.items() if where.region == EAST}
    assert bench.waiting() == {WEST: own, SOUTH: own}
    assert len(bench.shard.asked) < 20
    shard.asked.clear()
    bench = Bench(shard)
    assert bench.redrive.redrive([message(function=PROJECTOR)]) == ALL_IS_WELL
    assert bench.waiting() == {VIEWS: EACH}


@pytest.mark.parametrize(
    "given", [[RECORDS[1:]], [[], RECORDS[3:]], [[RECORDS[-1]]]], ids=["one gone", "three gone", "end alone"]
)
def test_every_lane_waits_when_the_batchs_beginning_is_gone(given: list[list[dict[str, Any]]]) -> None:
    bench = Bench(Shard(given))
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting()[WEST] == {HOMER: (1, 1), MARGE: (1, 1)}


def test_an_empty_table_is_nothing_to_bring() -> None:
    bench = Bench(Shard([], iterator_error=error("TrimmedDataAccessException")))
    bench.redrive = bench.of(MemoryStorage())
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting() == {}


LAST = Shard([], iterator_error=error("TrimmedDataAccessException"))


def many(count: int = 4_500) -> MemoryStorage:
    home = MemoryStorage()
    for n in range(count):
        home.insert_each([event_of(lane(f"{n:04}", (EAST, EAST, WEST)[n % 3]), 1)])
    return home


@pytest.mark.parametrize("function", [REPLICATOR, PROJECTOR])
def test_a_pass_over_every_lane_goes_on_in_the_next_invocation_and_serves_all_that_failed_before(function: str) -> None:
    bench = Bench(LAST)
    bench.redrive = bench.of(many())
    target, lanes = (VIEWS, 4_500) if function == PROJECTOR else (WEST, 3_000)
    batches = [message(n, function=function) for n in range(3)]
    sent: list[int] = []
    waiting = [batches[0]["body"]]
    while waiting:
        bench.redrive = bench.of(bench.redrive.home)  # another sandbox
        one = [{"messageId": "m", "body": waiting.pop()}]
        assert bench.redrive.redrive(one, lambda: False) == ALL_IS_WELL, "a message that fails ends in the dead letters"
        sent.append(sum(len(Pointers.parse(text).lanes) for text in bench.queues[target].sent))
        waiting += bench.again
    assert sent == sorted(sent)
    assert sent[0] == 1_000, "every invocation gets on, however little time it has"
    assert sent[-1] == lanes, "and no lane is sent twice"
    assert len(bench.waiting()[target]) == lanes
    assert bench.redrive.redrive(batches[1:], lambda: False) == ALL_IS_WELL
    assert sum(len(Pointers.parse(text).lanes) for text in bench.queues[target].sent) == lanes


def test_what_failed_after_a_pass_began_gets_another_one() -> None:
    bench = Bench(LAST)
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    later = json.loads(message()["body"]) | {"timestamp": "2026-11-14T00:14:19.718Z"}  # a millisecond after its beginning
    assert bench.redrive.redrive([{"messageId": "m2", "body": json.dumps(later)}]) == ALL_IS_WELL, (
        "by a clock that is behind"
    )
    assert [len(Pointers.parse(text).lanes) for text in bench.queues[WEST].sent] == [2, 2]


def test_a_pass_that_stood_in_a_region_that_is_gone_begins_again() -> None:
    bench = Bench(LAST)
    bench.redrive = bench.of(many())
    bench.control.put("redrive", {VIEWS: {"began": NOW, "region": "sa-east-1", "after": "sa-east-1#user#x", "ended": False}})
    assert bench.redrive.redrive([message(function=PROJECTOR)]) == ALL_IS_WELL
    assert len(bench.waiting()[VIEWS]) == 4_500


# -- not now -----------------------------------------------------------------------------------------------------------

NOT_NOW = {
    "throttled": error("LimitExceededException"),
    "iterator expired": error("ExpiredIteratorException"),
    "no right": error("AccessDeniedException"),
    "broken": error("InternalServerError"),
    "no answer": ReadTimeoutError(endpoint_url="http://x"),
}


@pytest.mark.parametrize("at", ["iterator", "page"])
@pytest.mark.parametrize("failure", NOT_NOW.values(), ids=NOT_NOW.keys())
def test_a_message_that_cannot_be_dealt_with_now_is_kept_and_the_others_are_dealt_with(failure: Exception, at: str) -> None:
    class Failing(Shard):
        def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
            failing = request["SequenceNumber"] == f"{BASE + 10}"
            if failing and at == "iterator":
                raise failure
            return {"ShardIterator": "1" if failing else "0"}

    bench = Bench(Failing([[RECORDS[2]], RECORDS[:1]], page_errors={1: failure}))
    answer = bench.redrive.redrive([message(1, 10, 60), message(2, 30, 30)])
    assert answer == item_failures(["m1"])
    assert bench.waiting() == {peer: {MARGE: (1, 1)} for peer in (WEST, SOUTH)}


def test_a_backlog_that_takes_nothing_keeps_the_message_and_the_next_attempt_is_whole() -> None:
    bench = Bench(Shard([RECORDS]))
    bench.queues[SOUTH].error = RegionUnavailable("down")
    assert bench.redrive.redrive([message()]) == item_failures(["m1"])
    bench.queues[SOUTH].error = None
    assert bench.redrive.redrive([message()]) == ALL_IS_WELL
    assert bench.waiting() == {peer: {HOMER: (1, 3), MARGE: (1, 1)} for peer in (WEST, SOUTH)}


def test_a_table_that_does_not_answer_keeps_the_message() -> None:
    class Down(MemoryStorage):
        def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
            raise RegionUnavailable("down")

    bench = Bench(Shard([], iterator_error=error("TrimmedDataAccessException")))
    bench.redrive = bench.of(Down())
    assert bench.redrive.redrive([message()]) == item_failures(["m1"])
    assert bench.waiting() == {}


def without(*path: str) -> str:
    body = json.loads(message()["body"])
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return json.dumps(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"requestContext": null}',
        without("requestContext"),
        without("requestContext", "functionArn"),
        without("DDBStreamBatchInfo"),
        without("DDBStreamBatchInfo", "endSequenceNumber"),
        without("DDBStreamBatchInfo", "startSequenceNumber"),
        without("DDBStreamBatchInfo", "streamArn"),
        message(endSequenceNumber="soon")["body"],
        message(endSequenceNumber=None)["body"],
        str(Pointers(f"{EAST}>{WEST}", {HOMER: (1, 1)}, 7)),
        "[" * 100_000,
        '{"requestContext": {"functionArn": "x"}, "DDBStreamBatchInfo": []}',
        message(endSequenceNumber=0)["body"].replace('"endSequenceNumber": 0', '"endSequenceNumber": 1e999'),
    ],
)  # fmt: skip
def test_a_message_that_is_no_failed_batch_is_kept_and_the_others_are_dealt_with(body: str) -> None:
    bench = Bench(Shard([RECORDS]))
    answer = bench.redrive.redrive([{"messageId": "bad", "body": body}, message()])
    assert answer == item_failures(["bad"])
    assert bench.waiting() == {peer: {HOMER: (1, 3), MARGE: (1, 1)} for peer in (WEST, SOUTH)}


def test_nothing_of_a_payload_is_in_a_message_or_a_log_line(logged: list[Any]) -> None:
    for shard in (Shard([RECORDS]), Shard([[record(HOMER, 2, 10, NewImage={"payload": {"S": "horse"}}), *RECORDS[1:]]])):
        for function in (REPLICATOR, PROJECTOR):
            bench = Bench(shard)
            bench.redrive.redrive([message(function=function), {"messageId": "m", "body": "{}"}])
            assert bench.waiting()
            assert "horse" not in bench.sent()
    assert {line["event"] for line in logged} == {"stream.redriven", "redrive.failed"}
    assert "horse" not in json.dumps(logged, default=repr)


# -- every lane --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_reconcile_puts_every_lane_where_it_belongs_once(count: int) -> None:
    home = MemoryStorage()
    for n in range(count):
        home.insert_each([event_of(lane(f"{n:04}", EAST if n % 3 else WEST), 1)])
    bench = Bench(Shard([]))
    counts = list(reconcile(home, EAST, bench.backlogs, NOW))
    assert counts[-1] == count
    own = {where: (1, last) for where, last in home.lanes() if where.region == EAST}
    everything = {where: (1, last) for where, last in home.lanes()}
    wanted = {WEST: own, SOUTH: own, VIEWS: everything}
    assert bench.waiting() == {target: lanes for target, lanes in wanted.items() if lanes}
    assert sum(len(Pointers.parse(text).lanes) for text in bench.queues[VIEWS].sent) == count


# -- a real stream -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with World([EAST], options=WorldOptions(workers=False, services="dynamodb,dynamodbstreams,sqs")) as world:
        made = Settings(EAST, (WEST,), endpoints=world.settings(EAST).endpoints)
        sqs: Any = clients.sqs(made, EAST)
        for name in (f"backlog-{WEST}", f"backlog-{VIEWS}"):
            sqs.create_queue(QueueName=f"meridian-{name}")
        yield made


def taken(settings: Settings, target: str) -> Spans:
    sqs: Any = clients.sqs(settings, EAST)
    url = sqs.get_queue_url(QueueName=f"meridian-backlog-{target}")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for each in found:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    return join(Pointers.parse(each["Body"]).lanes for each in found)


@pytest.mark.emulator
def test_positions_of_a_real_stream_become_lanes_and_so_does_a_stream_that_is_gone(settings: Settings) -> None:
    activate(settings)
    store = connect_store(settings)
    for name in ("homer", "marge", "homer", "bart"):
        store.append(f"user/{name}", NewEvent("x", {"secret": "horse"}))
    client: Any = clients.dynamodb(settings, EAST)
    (other,) = (to_item(event_of(COPY, 1)),)
    client.put_item(TableName=settings.events_table, Item=other)
    client.delete_item(TableName=settings.events_table, Key={"pk": {"S": lane("bart").key}, "sk": {"S": sequence_key(1)}})
    streams: Any = clients.streams(settings, EAST)
    arn = client.describe_table(TableName=settings.events_table)["Table"]["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    start = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    numbers = [r["dynamodb"]["SequenceNumber"] for r in streams.get_records(ShardIterator=start)["Records"]]
    assert len(numbers) == 6
    redrive = connect_redrive(settings)

    def deal(first: str, last: str, function: str = REPLICATOR, **changed: Any) -> dict[str, Spans]:
        where = {"startSequenceNumber": first, "endSequenceNumber": last, "streamArn": arn, "shardId": shard}
        redrive.control.delete("redrive", dict(redrive.control.get_all("redrive")))  # else one pass serves all of these
        assert redrive.redrive([message(function=function, **{**where, **changed})]) == ALL_IS_WELL
        return {target: lanes for target in (WEST, VIEWS) if (lanes := taken(settings, target))}

    own: Spans = {HOMER: (1, 2), MARGE: (1, 1), lane("bart"): (1, 1)}
    assert deal(numbers[0], numbers[-1]) == {WEST: own}
    assert deal(numbers[1], numbers[2]) == {WEST: {HOMER: (2, 2), MARGE: (1, 1)}}
    assert deal(numbers[0], numbers[-1], PROJECTOR) == {VIEWS: {**own, COPY: (1, 1)}}
    left: Spans = {HOMER: (1, 1), MARGE: (1, 1)}  # bart was removed: as the table has it now
    assert deal(numbers[0], numbers[-1], shardId="shardId-none") == {WEST: left}
    assert deal("0" * 20 + "1", "1") == {WEST: left}, "the place that the page for operators gives"
    assert deal(numbers[0], f"{int(numbers[-1]) + 1}") == {WEST: left}
    gone: Sequence[str] = (arn[:-3] + "999", arn.replace("meridian-events", "other-events"))
    assert [deal(numbers[0], numbers[-1], streamArn=other) for other in gone] == [{WEST: left}] * 2
