"""The proxy in front of a real emulator: without rules nobody can tell it is there, and every fault has its effect."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from chaos.faults.control import EngineUnavailable, Faults
from chaos.faults.rules import Rule
from replicator import InvalidConfig
from replicator.aws import clients
from replicator.aws.tables import create_tables
from replicator.connect import connect_store
from replicator.eventstore.store_errors import OutcomeUnknown
from replicator.runtime.settings import Settings
from tests.chaos.faults.conftest import REGION, Place
from tests.processes import HANGING_SECONDS, wait_until

pytestmark = pytest.mark.emulator


def _put(client: Any, table: str, key: str) -> None:
    client.put_item(TableName=table, Item={"pk": {"S": key}, "sk": {"S": "1"}})


def _has(place: Place, table: str, key: str) -> bool:
    found = place.client("dynamodb", direct=True).get_item(
        TableName=table, Key={"pk": {"S": key}, "sk": {"S": "1"}}, ConsistentRead=True
    )
    return "Item" in found


def _code(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return clients.error_code(caught.value)


def _raw(place: Place, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    client = http.client.HTTPConnection("127.0.0.1", place.proxy.port(REGION), timeout=HANGING_SECONDS)
    client.request(method, path, body)
    answer = client.getresponse()
    found = answer.status, json.loads(answer.read())
    client.close()
    return found


def test_items_written_through_the_proxy_are_there_and_read_the_same_either_way(place: Place, table: str) -> None:
    client = place.client("dynamodb")
    for number in range(5):
        _put(client, table, f"k{number}")
    through = client.scan(TableName=table)["Items"]
    assert through == place.client("dynamodb", direct=True).scan(TableName=table)["Items"]
    assert len(through) == 5
    bucket = place.client("s3")
    bucket.create_bucket(Bucket=table)
    bucket.put_object(Bucket=table, Key="big", Body=b"x" * 3_000_000)  # the SDK asks to continue, and sends chunks
    assert bucket.get_object(Bucket=table, Key="big")["Body"].read() == b"x" * 3_000_000


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("dynamodb", lambda client: client.list_tables()),
        ("dynamodbstreams", lambda client: client.list_streams()),
        ("kinesis", lambda client: client.list_streams()),
        ("sqs", lambda client: client.list_queues()),
        ("sns", lambda client: client.list_topics()),
        ("s3", lambda client: client.list_buckets()),
    ],
)
def test_an_error_comes_in_the_services_own_format(place: Place, service: str, call: Callable[[Any], Any]) -> None:
    client = place.client(service)
    place.faults.set([{"service": service, "error": {"statusCode": 400, "code": "ThrottlingException"}}])
    assert _code(lambda: call(client)) == "ThrottlingException"
    place.faults.set([{"service": service}])
    assert _code(lambda: call(client)) == "ServiceUnavailable"
    place.faults.clear()
    call(client)


def test_an_error_keeps_the_request_from_the_service_and_strikes_no_other_operation(place: Place, table: str) -> None:
    client = place.client("dynamodb")
    throttled = {"statusCode": 400, "code": "ProvisionedThroughputExceededException"}
    place.faults.set([{"service": "dynamodb", "operation": "PutItem", "error": throttled}])
    with pytest.raises(client.exceptions.ProvisionedThroughputExceededException):
        _put(client, table, "a")
    assert not _has(place, table, "a")
    assert client.scan(TableName=table)["Count"] == 0
    place.client("dynamodbstreams").list_streams()
    (told,) = [each for each in place.faults.told() if each.active]
    assert (told.seen, told.struck, told.by) == (1, 1, {f"dynamodb PutItem in {REGION}": 1})


def test_a_rule_of_another_region_strikes_only_requests_to_that_region(place: Place) -> None:
    place.faults.set([{"region": "eu-west-1"}])
    place.client("dynamodb").list_tables()
    assert _code(place.client("dynamodb", region="eu-west-1").list_tables) == "ServiceUnavailable"


def test_chance_windows_and_numbers_hold_on_real_requests(place: Place) -> None:
    client = place.client("dynamodb")

    def fails() -> bool:
        try:
            client.list_tables()
        except ClientError:
            return True
        return False

    place.faults.set([{"probability": 0.5, "meridian": {"seed": 3}}])
    first = [fails() for _ in range(40)]
    assert 8 < sum(first) < 32
    place.faults.set([{"probability": 0.5, "meridian": {"seed": 3}}])
    assert [fails() for _ in range(40)] == first
    place.faults.set([{"meridian": {"window": [10_000, 20_000]}}])
    assert not fails()
    place.faults.set([{"meridian": {"window": [0, 10_000]}}])
    assert fails()
    place.faults.set([{"meridian": {"window": [0, 0.5]}}])
    wait_until(lambda: not fails(), "the window is over")
    place.faults.set([{"meridian": {"after": 2, "times": 1}}])
    assert [fails() for _ in range(5)] == [False, False, True, False, False]


def test_a_lost_answer_leaves_the_item_there_and_the_caller_without_knowing(place: Place, table: str) -> None:
    client = place.client("dynamodb", timeout=0.5)
    place.faults.set([{"operation": "PutItem", "meridian": {"effect": "answer-lost"}}])
    with pytest.raises(ReadTimeoutError):
        _put(client, table, "a")
    assert _has(place, table, "a")
    place.faults.set([{"operation": "PutItem", "meridian": {"effect": "answer-lost", "how": "reset"}}])
    with pytest.raises(ConnectionClosedError):
        _put(client, table, "b")
    assert _has(place, table, "b")
    assert place.struck() == [1]
    place.faults.clear()
    _put(client, table, "c")


def _took(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_a_slow_answer_and_latency_take_their_time_and_the_item_is_there_before_the_answer(place: Place, table: str) -> None:
    client, hasty = place.client("dynamodb"), place.client("dynamodb", timeout=0.5)
    ten_minutes = 600_000
    place.faults.set([{"operation": "PutItem", "meridian": {"effect": "slow-answer", "latency": ten_minutes}}])
    with pytest.raises(ReadTimeoutError):
        _put(hasty, table, "a")
    wait_until(lambda: _has(place, table, "a"), "the item, before the answer")
    place.faults.set([{"operation": "PutItem", "meridian": {"effect": "slow-answer", "latency": 300}}])
    assert _took(lambda: _put(client, table, "b")) >= 0.3
    place.faults.clear()
    place.faults.effects(200)
    assert _took(client.list_tables) >= 0.2
    place.faults.effects(ten_minutes)
    with pytest.raises(ReadTimeoutError):
        hasty.list_tables()
    place.faults.effects(0)
    client.list_tables()


def test_unprocessed_items_are_not_written_and_are_named(place: Place, table: str) -> None:
    client = place.client("dynamodb")
    puts = [{"PutRequest": {"Item": {"pk": {"S": f"k{i}"}, "sk": {"S": "1"}}}} for i in range(10)]
    place.faults.set([{"meridian": {"effect": "unprocessed", "part": 0.3}}])
    left = client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"][table]
    assert len(left) == 3
    names = {each["PutRequest"]["Item"]["pk"]["S"] for each in left}
    assert {f"k{i}" for i in range(10) if not _has(place, table, f"k{i}")} == names
    place.faults.clear()
    assert client.batch_write_item(RequestItems={table: left})["UnprocessedItems"] == {}
    place.faults.set([{"meridian": {"effect": "unprocessed", "part": 1}}])
    keys = [{"pk": {"S": f"k{i}"}, "sk": {"S": "1"}} for i in range(4)]
    got = client.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    assert got["Responses"] == {}
    assert got["UnprocessedKeys"] == {table: {"Keys": keys, "ConsistentRead": True}}


def test_unprocessed_statements_records_and_messages_are_named_as_each_service_does(place: Place, table: str) -> None:
    place.faults.set([{"meridian": {"effect": "unprocessed", "part": 0.5}}])
    insert = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': ?}}"
    statements = [{"Statement": insert, "Parameters": [{"S": f"s{i}"}, {"S": "1"}]} for i in range(6)]
    answers = place.client("dynamodb").batch_execute_statement(Statements=statements)["Responses"]
    failed = [answer.get("Error", {}).get("Code", "") for answer in answers]
    assert sorted(failed) == [""] * 3 + ["ThrottlingError"] * 3
    assert [_has(place, table, f"s{i}") for i in range(6)] == [not code for code in failed]

    kinesis = place.client("kinesis")
    kinesis.create_stream(StreamName=table, ShardCount=1)
    put = kinesis.put_records(StreamName=table, Records=[{"Data": b"%d" % i, "PartitionKey": "k"} for i in range(4)])
    assert put["FailedRecordCount"] == 2
    codes = [record.get("ErrorCode") for record in put["Records"]]
    assert sorted(map(str, codes)) == ["None", "None"] + ["ProvisionedThroughputExceededException"] * 2

    sqs = place.client("sqs")
    url = sqs.create_queue(QueueName=table)["QueueUrl"]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": "x"} for i in range(4)])
    assert len(sent["Successful"]) == len(sent["Failed"]) == 2
    assert {each["Id"] for each in sent["Successful"]} | {each["Id"] for each in sent["Failed"]} == {"0", "1", "2", "3"}
    assert place.struck() == [3]


def test_an_append_whose_answer_is_lost_is_unknown_and_can_be_resolved(place: Place, table: str) -> None:
    settings = Settings(REGION, prefix=table, endpoints={REGION: place.url}, read_timeout=0.5, attempts=1)
    create_tables(settings)
    store = connect_store(settings)
    from replicator.domain.event import NewEvent

    store.append("user/homer", NewEvent("registered", {}))
    lost = {"effect": "answer-lost", "how": "reset", "times": 1}
    place.faults.set([{"service": "dynamodb", "operation": "ExecuteStatement", "meridian": lost}])
    with pytest.raises(OutcomeUnknown) as caught:
        store.append("user/homer", NewEvent("renamed", {}))
    assert place.struck() == [1]
    store.resolve(caught.value.events)
    assert [event.sequence for event in store.read("user/homer")] == [1, 2]


def test_localstacks_paths_set_add_take_back_and_tell_rules(place: Place) -> None:
    faults, sqs, sns = place.faults, Rule(service="sqs"), Rule(service="sns")
    path = "/_localstack/chaos/faults"
    assert _raw(place, "POST", path, b'[{"service": "sqs"}]') == (200, [{"service": "sqs"}])
    assert _raw(place, "PATCH", path, b'[{"service": "sns"}]') == (200, [{"service": "sqs"}, {"service": "sns"}])
    assert faults.rules() == (sqs, sns)
    assert _raw(place, "DELETE", path, b'[{"service": "sqs"}]') == (200, [{"service": "sns"}])
    status, told = _raw(place, "DELETE", path, b'[{"service": "kms"}]')
    assert (status, faults.rules()) == (400, (sns,))
    assert "give exactly what was set" in told["error"]
    assert _raw(place, "POST", path, b'[{"probability": 7}]')[0] == 400
    assert faults.rules() == (sns,)  # what is wrong changes nothing
    assert _raw(place, "PUT", path, b"[]") == (
        405,
        {"error": f"{path} does not accept PUT; choose from GET, POST, PATCH, DELETE"},
    )
    assert _raw(place, "GET", "/_localstack/chaos/nothing")[0] == 404
    assert _raw(place, "POST", "/_localstack/chaos/effects", b'{"latency": 5}') == (200, {"latency": 5})
    assert _raw(place, "GET", "/_localstack/chaos/effects") == (200, {"latency": 5})
    assert _raw(place, "POST", "/_localstack/chaos/effects", b'{"jitter": 5}')[0] == 400
    assert faults.add([sqs]) == []
    assert faults.rules() == (sns, sqs)
    with pytest.raises(InvalidConfig, match="rule 1"):
        faults.set([{"effect": "zap"}])
    with pytest.raises(EngineUnavailable, match="start it"):
        Faults("http://127.0.0.1:1").rules()


def test_many_clients_at_once_are_each_answered(place: Place, table: str) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            client = place.client("dynamodb")
            for number in range(10):
                _put(client, table, f"{name}-{number}")
        except (BotoCoreError, ClientError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert place.client("dynamodb").scan(TableName=table)["Count"] == 120


def test_rules_that_are_taken_back_leave_the_others_as_they_are_with_what_they_have_counted(place: Place) -> None:
    client = place.client("dynamodb")
    one, two = ({"operation": "ListTables", "meridian": {"times": 2, "seed": seed}} for seed in (1, 2))

    def fails() -> bool:
        try:
            client.list_tables()
        except ClientError:
            return True
        return False

    place.faults.set([one, two])
    assert [fails() for _ in range(3)] == [True, True, True]
    place.faults.remove([one])
    assert [(each.rule.seed, each.seen, each.struck) for each in place.faults.told() if each.active] == [(2, 1, 1)]
    assert [fails() for _ in range(3)] == [True, False, False]
    with pytest.raises(InvalidConfig, match="is not set; to remove a rule, give exactly what was set"):
        place.faults.remove([one])
    place.faults.remove([two])
    assert place.faults.rules() == ()
