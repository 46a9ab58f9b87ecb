"""Probes of Kinesis: the event bus that the table feeds, and the stream of external events."""

from __future__ import annotations

import json
from typing import Any

from chaos.conform.lab import Lab, outcome
from chaos.conform.probe import DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import BUS, RESTORED

AREA = Area("Kinesis", ("dynamodb", "kinesis"))

_API = "https://docs.aws.amazon.com/kinesis/latest/APIReference/"
_GUIDE = "https://docs.aws.amazon.com/streams/latest/dev/"
_ITERATOR = f"{_API}API_GetShardIterator.html"
_PUT = f"{_API}API_PutRecords.html"
_SPLIT = f"{_GUIDE}kinesis-using-sdk-java-after-resharding.html"
_CONCEPTS = f"{_GUIDE}key-concepts.html"


def _made(lab: Lab, shards: int) -> str:
    kinesis, name = lab.client("kinesis"), lab.name()
    lab.later(f"Kinesis stream {name}", lambda: kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True))
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    _ready(lab, name)
    return name


def _ready(lab: Lab, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = lab.client("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        return found if found["StreamStatus"] == "ACTIVE" else None

    return lab.until(look)


def _stream(lab: Lab) -> str:
    return lab.shared("kinesis", lambda: _made(lab, 2))


def _put(lab: Lab, name: str, key: str, *data: str) -> list[dict[str, Any]]:
    entries = [{"PartitionKey": key, "Data": each.encode()} for each in data]
    answer = lab.client("kinesis").put_records(StreamName=name, Records=entries)
    found: list[dict[str, Any]] = answer["Records"]
    return found


def _shards(lab: Lab, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.client("kinesis").list_shards(StreamName=name)["Shards"]
    return found


def _read(
    lab: Lab, name: str, key: str, shard: str, count: int = 1, kind: str = "TRIM_HORIZON", number: str = ""
) -> list[str]:
    """Read a shard until so many records of a key have come; return their data."""
    kinesis, found = lab.client("kinesis"), list[str]()
    more = {"StartingSequenceNumber": number} if number else {}
    state = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)

    def look() -> bool:
        iterator = state.get("ShardIterator")
        if iterator:
            page = kinesis.get_records(ShardIterator=iterator)
            found.extend(each["Data"].decode() for each in page["Records"] if each["PartitionKey"] == key)
            state["ShardIterator"] = page.get("NextShardIterator")
        return len(found) >= count or not state.get("ShardIterator")

    lab.until(look)
    return found


@AREA.ask("Are a key's records in the order of their puts?", "0 to 19 in order", _CONCEPTS, BUS)
def kinesis_order(lab: Lab) -> str:
    name, key = _stream(lab), lab.key()
    for n in range(20):
        (put,) = _put(lab, name, key, str(n))
    found = _read(lab, name, key, put["ShardId"], 20)
    return f"{found[0]} to {found[-1]} {'in order' if found == [str(n) for n in range(20)] else 'in disorder'}"


@AREA.ask("Is a key always in one shard?", "one shard", _CONCEPTS, BUS, unsafe("several shards", "a lane's order is lost"))
def kinesis_key(lab: Lab) -> str:
    name, key = _stream(lab), lab.key()
    shards = {put["ShardId"] for _ in range(5) for put in _put(lab, name, key, "a", "b")}
    return "one shard" if len(shards) == 1 else "several shards"


@AREA.ask("Do the sequence numbers of a key rise?", "rising", _CONCEPTS, BUS)
def kinesis_numbers(lab: Lab) -> str:
    name, key = _stream(lab), lab.key()
    found = [int(_put(lab, name, key, "a")[0]["SequenceNumber"]) for _ in range(5)]
    return "rising" if found == sorted(set(found)) else "not rising"


@AREA.ask("What comes from AT_SEQUENCE_NUMBER of the second of three?", "1, 2", _ITERATOR, BUS)
def kinesis_iterator_at(lab: Lab) -> str:
    name, key = _stream(lab), lab.key()
    puts = [_put(lab, name, key, str(n))[0] for n in range(3)]
    return ", ".join(_read(lab, name, key, puts[1]["ShardId"], 2, "AT_SEQUENCE_NUMBER", puts[1]["SequenceNumber"]))


@AREA.ask("What comes after AFTER_SEQUENCE_NUMBER of the first of three?", "1, 2", _ITERATOR, BUS)
def kinesis_iterator_after(lab: Lab) -> str:
    name, key = _stream(lab), lab.key()
    puts = [_put(lab, name, key, str(n))[0] for n in range(3)]
    return ", ".join(_read(lab, name, key, puts[0]["ShardId"], 2, "AFTER_SEQUENCE_NUMBER", puts[0]["SequenceNumber"]))


@AREA.ask(
    "What answers an iterator of a shard that is not there?",
    "ResourceNotFoundException",
    _ITERATOR,
    RESTORED,
    harmless("InvalidArgumentException", "Meridian takes both for a shard that is gone"),
)
def kinesis_without_shard(lab: Lab) -> str:
    name = _stream(lab)
    request = {"StreamName": name, "ShardId": "shardId-000000009999", "ShardIteratorType": "TRIM_HORIZON"}
    return outcome(lambda: lab.client("kinesis").get_shard_iterator(**request))


@AREA.ask("Does PutRecords take 500 records?", "500 put", _PUT, BUS)
def kinesis_full(lab: Lab) -> str:
    puts = _put(lab, _stream(lab), lab.key(), *("x" * 500))
    return f"{sum(1 for each in puts if each.get('SequenceNumber'))} put"


@AREA.ask(
    "Are 501 records in PutRecords refused?",
    "ValidationException",
    _PUT,
    BUS,
    harmless("InvalidArgumentException", "refused all the same"),
    hidden("accepted", "what AWS refuses passes here; Meridian sends 500 records at most"),
)
def kinesis_too_many(lab: Lab) -> str:
    return outcome(lambda: _put(lab, _stream(lab), lab.key(), *("x" * 501)))


@AREA.ask("Has a recreated stream another time of creation?", "another", f"{_API}API_DescribeStreamSummary.html", RESTORED)
def kinesis_recreated(lab: Lab) -> str:
    kinesis, name = lab.client("kinesis"), _made(lab, 1)
    one = _ready(lab, name)["StreamCreationTimestamp"]
    kinesis.delete_stream(StreamName=name)
    lab.until(lambda: outcome(lambda: kinesis.describe_stream_summary(StreamName=name)) == "ResourceNotFoundException")
    lab.pause(1.1)  # the time has seconds on some engines
    lab.until(lambda: outcome(lambda: kinesis.create_stream(StreamName=name, ShardCount=1)) == "accepted")
    return "another" if _ready(lab, name)["StreamCreationTimestamp"] != one else "the same"


def _split(lab: Lab) -> tuple[str, str, dict[str, Any]]:
    """Put a record, split its shard; return the stream, the key and the record."""

    def make() -> tuple[str, str, dict[str, Any]]:
        name, key = _made(lab, 1), lab.key()
        (put,) = _put(lab, name, key, "before")
        half = str(2**127)
        lab.client("kinesis").split_shard(StreamName=name, ShardToSplit=put["ShardId"], NewStartingHashKey=half)
        _ready(lab, name)
        return name, key, put

    return lab.shared("split", make)


@AREA.ask("Do the shards of a split name their parent?", "2 children", _SPLIT, BUS)
def kinesis_split_parent(lab: Lab) -> str:
    name, _, put = _split(lab)
    return f"{sum(1 for each in _shards(lab, name) if each.get('ParentShardId') == put['ShardId'])} children"


@AREA.ask(
    "Is what was unread in a split shard still readable?",
    "before",
    _SPLIT,
    BUS,
    unsafe("", "a split drops what is unread"),
    unsafe("*refused*", "a split drops what is unread"),
)
def kinesis_split_readable(lab: Lab) -> str:
    name, key, put = _split(lab)
    return ", ".join(_read(lab, name, key, put["ShardId"]))


@AREA.ask(
    "Does a split shard end?", "it ends", _SPLIT, BUS, unsafe("nothing came", "a reader never goes on to the children")
)
def kinesis_split_ends(lab: Lab) -> str:
    name, key, put = _split(lab)
    _read(lab, name, key, put["ShardId"], 2)
    return "it ends"


@AREA.ask("Does a key go to a child after a split?", "to a child", _SPLIT, BUS)
def kinesis_split_child(lab: Lab) -> str:
    name, key, put = _split(lab)
    (after,) = _put(lab, name, key, "after")
    return "to the parent" if after["ShardId"] == put["ShardId"] else "to a child"


@AREA.ask("Does a table feed a Kinesis stream?", "INSERT", f"{DEVELOPER_GUIDE}kds.html", BUS)
def kinesis_destination(lab: Lab) -> str:
    name, table = _made(lab, 1), lab.create()
    arn = _ready(lab, name)["StreamARN"]
    lab.later(
        f"destination of {table}",
        lambda: lab.db.disable_kinesis_streaming_destination(TableName=table, StreamArn=arn),
    )
    lab.db.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn)

    def active() -> bool:
        found = lab.db.describe_kinesis_streaming_destination(TableName=table)["KinesisDataStreamDestinations"]
        return bool(found and found[0]["DestinationStatus"] == "ACTIVE")

    lab.until(active)
    lab.put(table, "a", value="x")
    kinesis = lab.client("kinesis")
    shard = _shards(lab, name)[0]["ShardId"]
    state = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")

    def look() -> list[dict[str, Any]]:
        page = kinesis.get_records(ShardIterator=state["ShardIterator"])
        state["ShardIterator"] = page["NextShardIterator"]
        records: list[dict[str, Any]] = page["Records"]
        return records

    return str(json.loads(lab.until(look)[0]["Data"])["eventName"])
