"""The emulator's streams show what is inserted, and its answers to PartiQL are those that AWS documents."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chaos.faults.inserts import Statement, parse
from chaos.world.world import World
from replicator import NewEvent
from replicator.aws import clients
from replicator.connect import connect_store
from replicator.runtime.settings import Settings
from tests.commands import command
from tests.processes import wait_until

EAST, WEST = "us-east-1", "eu-west-1"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("INSERT INTO \"a-b.c\" VALUE {'pk': ?, 'sk': ?}", Statement("insert", "a-b.c", ("pk", "sk"))),
        ("insert into t value {'pk':?}", Statement("insert", "t", ("pk",))),
        ('EXISTS(SELECT * FROM "t" WHERE "pk" = ? AND "v" = ?)', Statement("exists", "t", ("pk", "v"))),
        ("INSERT INTO \"t\" VALUE {'pk': 'literal'}", None),
        ("INSERT INTO \"t\" VALUE {'pk': ?, 'more': [?]}", None),
        ("INSERT INTO \"t\" VALUE {'pk': ?, 'v': ?, 'v': ?}", None),
        ("INSERT INTO \"t VALUE {'pk': ?}", None),
        ("\u0131nsert into t value {'pk': ?}", None),
        ('EXISTS(SELECT * FROM "t" WHERE "pk" = ? AND "v" = ? AND "v" = ?)', None),
        ('UPDATE "t" SET "v" = ? WHERE "pk" = ?', None),
        ('SELECT * FROM "t" WHERE "pk" = ?', None),
        ('EXISTS(SELECT * FROM "t" WHERE "pk" = ? OR "v" = ?)', None),
        ("", None),
    ],
)
def test_only_statements_whose_values_are_all_parameters_are_translated(text: str, parsed: Statement | None) -> None:
    assert parse(text) == parsed


class Place:
    """A table with a stream, in the emulator."""

    def __init__(self, settings: Settings) -> None:
        self.client: Any = clients.dynamodb(settings, EAST)
        self.streams: Any = clients.streams(settings, EAST)
        self.table = f"t{uuid.uuid4().hex[:12]}"
        self.insert = f"INSERT INTO \"{self.table}\" VALUE {{'pk': ?, 'sk': ?, 'v': ?}}"
        self.exists = f'EXISTS(SELECT * FROM "{self.table}" WHERE "pk" = ? AND "sk" = ? AND "v" = ?)'
        self.stream = self.client.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "sk", "KeyType": "RANGE"}, {"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )["TableDescription"]["LatestStreamArn"]

    def statement(self, key: str, value: str = "v", text: str = "") -> dict[str, Any]:
        return {"Statement": text or self.insert, "Parameters": [{"S": key}, {"S": "1"}, {"S": value}]}

    def records(self) -> list[tuple[str, str, str]]:
        """All that the stream shows: the event, the key and the value."""
        found = []
        for shard in self.streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"]:
            start = {"StreamArn": self.stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = self.streams.get_shard_iterator(**start)["ShardIterator"]
            found += self.streams.get_records(ShardIterator=iterator)["Records"]
        images = [(each["eventName"], each["dynamodb"]["NewImage"]) for each in found]
        return [(name, image["pk"]["S"], image["v"]["S"]) for name, image in images]


@pytest.fixture
def place(emulated: World) -> Iterator[Place]:
    made = Place(emulated.settings(EAST))
    yield made
    made.client.delete_table(TableName=made.table)


def test_each_way_to_insert_shows_in_the_stream(place: Place) -> None:
    client = place.client
    assert client.execute_statement(**place.statement("one"))["Items"] == []
    both = client.batch_execute_statement(Statements=[place.statement("two"), place.statement("three")])["Responses"]
    assert both == [{"TableName": place.table}] * 2
    guard = place.statement("one", "v", place.exists)
    assert client.execute_transaction(TransactStatements=[place.statement("four"), guard])["Responses"] == []
    assert place.records() == [("INSERT", key, "v") for key in ("one", "two", "three", "four")]
    found = client.execute_statement(Statement=f'SELECT * FROM "{place.table}" WHERE "pk" = ?', Parameters=[{"S": "four"}])
    assert [item["v"] for item in found["Items"]] == [{"S": "v"}]


def test_a_taken_key_is_refused_as_aws_refuses_it_and_nothing_is_replaced(place: Place) -> None:
    client = place.client
    client.execute_statement(**place.statement("one"))
    with pytest.raises(client.exceptions.DuplicateItemException):
        client.execute_statement(**place.statement("one", "another"))
    told = client.batch_execute_statement(Statements=[place.statement("one", "another"), place.statement("two")])
    assert [each.get("Error", {}).get("Code") for each in told["Responses"]] == ["DuplicateItem", None]
    for statements, codes in (
        ([place.statement("three"), place.statement("one", "another")], ["None", "DuplicateItem"]),
        ([place.statement("three"), place.statement("one", "no", place.exists)], ["None", "ConditionalCheckFailed"]),
        ([place.statement("three"), place.statement("nobody", "v", place.exists)], ["None", "ConditionalCheckFailed"]),
    ):
        with pytest.raises(client.exceptions.TransactionCanceledException) as cancelled:
            client.execute_transaction(TransactStatements=statements)
        assert [each["Code"] for each in cancelled.value.response["CancellationReasons"]] == codes
    assert place.records() == [("INSERT", "one", "v"), ("INSERT", "two", "v")]


def test_what_is_no_insert_and_what_is_wrong_goes_to_ministack_as_it_is(place: Place) -> None:
    client = place.client
    client.execute_statement(**place.statement("one"))
    update = {"Statement": f'UPDATE "{place.table}" SET "v" = ? WHERE "pk" = ? AND "sk" = ?',
              "Parameters": [{"S": "new"}, {"S": "one"}, {"S": "1"}]}  # fmt: skip
    told = client.batch_execute_statement(Statements=[update, place.statement("two")])["Responses"]
    assert told == [{"TableName": place.table}] * 2
    for wrong in (
        {"Statement": "INSERT INTO nowhere VALUE {'pk': ?}", "Parameters": [{"S": "x"}]},
        {"Statement": place.insert, "Parameters": [{"S": "too few"}]},
        {"Statement": "nonsense"},
    ):
        with pytest.raises(ClientError, match=r"ValidationException|ResourceNotFoundException"):
            client.execute_statement(**wrong)
    with pytest.raises(ClientError, match="ValidationException"):
        client.batch_execute_statement(Statements=[place.statement(str(n)) for n in range(26)])
    items = client.scan(TableName=place.table)["Items"]
    assert {(item["pk"]["S"], item["v"]["S"]) for item in items} == {("one", "new"), ("two", "v")}


def test_capacity_is_told_where_it_is_asked_for(place: Place) -> None:
    told = place.client.execute_statement(**place.statement("one"), ReturnConsumedCapacity="TOTAL")
    assert told["ConsumedCapacity"]["CapacityUnits"] == 1.0
    statements = [place.statement("two"), place.statement("three")]
    told = place.client.batch_execute_statement(Statements=statements, ReturnConsumedCapacity="TOTAL")
    assert [(each["TableName"], each["CapacityUnits"]) for each in told["ConsumedCapacity"]] == [(place.table, 2.0)]


def test_a_table_made_anew_with_other_keys_is_written_by_those(place: Place) -> None:
    client = place.client
    client.execute_statement(**place.statement("one"))
    client.delete_table(TableName=place.table)
    client.create_table(
        TableName=place.table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "v", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "v", "AttributeType": "S"}],
    )
    client.execute_statement(**place.statement("one"))
    with pytest.raises(client.exceptions.DuplicateItemException):
        client.execute_statement(**place.statement("two"))


def test_an_insert_that_no_record_would_show_is_refused_and_written_nowhere(place: Place) -> None:
    client = place.client
    client.execute_statement(**place.statement("there"))
    literal = {"Statement": f"INSERT INTO {place.table} VALUE {{'pk': 'one', 'sk': '1', 'v': 'v'}}"}
    update = {"Statement": f'UPDATE "{place.table}" SET "v" = ? WHERE "pk" = ? AND "sk" = ?',
              "Parameters": [{"S": "new"}, {"S": "there"}, {"S": "1"}]}  # fmt: skip
    for call, request in (
        (client.execute_statement, literal),
        (client.batch_execute_statement, {"Statements": [place.statement("two"), literal]}),
        (client.execute_transaction, {"TransactStatements": [place.statement("three"), update]}),
    ):
        with pytest.raises(ClientError, match=r"ValidationException.*every value as a parameter"):
            call(**request)
    assert place.records() == [("INSERT", "there", "v")]
    assert len(client.scan(TableName=place.table)["Items"]) == 1


def test_where_nobody_follows_a_stream_any_insert_is_taken(emulated: World) -> None:
    client: Any = clients.dynamodb(emulated.settings(EAST), EAST)
    table = f"t{uuid.uuid4().hex[:12]}"
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    client.execute_statement(Statement=f"INSERT INTO {table} VALUE {{'pk': 'one'}}")
    assert client.scan(TableName=table)["Items"] == [{"pk": {"S": "one"}}]


def test_tables_of_one_name_in_two_regions_of_an_emulator_have_their_own_keys(emulated: World) -> None:
    url, table = emulated.settings(EAST).endpoint(EAST), f"t{uuid.uuid4().hex[:12]}"
    for region, key in ((EAST, "pk"), (WEST, "id")):
        client: Any = clients.dynamodb(Settings(region, endpoints={region: url or ""}), region)
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        )
        insert = {"Statement": f"INSERT INTO \"{table}\" VALUE {{'{key}': ?, 'v': ?}}"}
        client.execute_statement(**insert, Parameters=[{"S": "1"}, {"S": "first"}])
        with pytest.raises(client.exceptions.DuplicateItemException):
            client.execute_statement(**insert, Parameters=[{"S": "1"}, {"S": "second"}])
        assert client.scan(TableName=table)["Items"] == [{key: {"S": "1"}, "v": {"S": "first"}}]


def test_a_condition_named_twice_is_judged_as_both(place: Place) -> None:
    place.client.execute_statement(**place.statement("one"))
    twice = f'EXISTS(SELECT * FROM "{place.table}" WHERE "pk" = ? AND "sk" = ? AND "v" = ? AND "v" = ?)'
    check = {"Statement": twice, "Parameters": [{"S": "one"}, {"S": "1"}, {"S": "no"}, {"S": "v"}]}
    with pytest.raises(ClientError, match=r"ValidationException|TransactionCanceled"):
        place.client.execute_transaction(TransactStatements=[place.statement("two"), check])
    assert [name for _, name, _ in place.records()] == ["one"]


def test_an_answer_has_a_request_id_and_one_date(place: Place) -> None:
    for told in (place.client.execute_statement(**place.statement("one")), place.client.scan(TableName=place.table)):
        assert told["ResponseMetadata"]["RequestId"]
        assert told["ResponseMetadata"]["HTTPHeaders"]["date"].count("GMT") == 1


def test_the_command_refuses_a_port_that_is_taken_and_says_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = command("chaos", "emulator", "--port", str(port))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1
    assert f"cannot listen on port {port}" in answer.stderr


def test_a_world_writes_events_by_inserts_alone() -> None:
    with World([EAST, WEST]) as world:
        store = connect_store(world.settings(EAST))
        store.append("user/homer", NewEvent("set", {}))
        store.append("user/homer", NewEvent("set", {}), NewEvent("set", {}))
        there = connect_store(world.settings(WEST))
        wait_until(lambda: len(list(there.read("user/homer"))) == 3, "the copy")
        writes = world.event_writes()
    assert writes.keys() == {"ExecuteStatement", "ExecuteTransaction", "BatchExecuteStatement"}
