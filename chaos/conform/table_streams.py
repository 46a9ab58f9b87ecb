"""Probes of DynamoDB Streams: what replicators and projectors read events from."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from chaos.conform.lab import Lab, code_of, item, outcome
from chaos.conform.partiql import insert
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import ACKNOWLEDGED, BACKLOG, PREFIX, RESTORED
from chaos.conform.stream_tail import Record, StreamTail

AREA = Area("streams", ("dynamodb", "dynamodbstreams"))

_STREAMS = f"{DEVELOPER_GUIDE}Streams.html"
_RECORD = f"{API}API_streams_StreamRecord.html"
_ITERATOR = f"{API}API_streams_GetShardIterator.html"
_RECORDS = f"{API}API_streams_GetRecords.html"
_SHARD = f"{API}API_streams_Shard.html"
_IMAGES = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
_END = "end"
_LATE_SECONDS = 3.0
"""Seconds after a later change within which an earlier INSERT may still show: some engines do not keep their order."""


def _streamed(lab: Lab) -> tuple[str, StreamTail]:
    """Return the shared table with a stream of both images."""

    def make() -> tuple[str, StreamTail]:
        table = lab.create(StreamSpecification=_IMAGES)
        return table, StreamTail(lab, lab.active(table)["LatestStreamArn"]).ready()

    return lab.shared("streamed", make)


def _recorded(lab: Lab, *writes: dict[str, Any]) -> list[Record]:
    """Write these items under one new partition key, one after another, and a last one; return the records before it."""
    table, tail = _streamed(lab)
    pk = lab.key()
    for each in writes:
        lab.put(table, pk, **each)
    return _before_end(lab, table, tail, pk)


def _before_end(lab: Lab, table: str, tail: StreamTail, pk: str) -> list[Record]:
    lab.put(table, pk, _END)
    return [each for each in tail.until(pk, lambda found: any(map(_is_end, found))) if not _is_end(each)]


def _is_end(record: Record) -> bool:
    return bool(record["dynamodb"]["Keys"]["sk"]["S"] == _END)


def _names(records: list[Record]) -> str:
    return ", ".join(str(each["eventName"]) for each in records) or "nothing"


def _inserted(lab: Lab, write: Any) -> str:
    """Write by PartiQL, then change the item; return what the stream shows first."""
    table, tail = _streamed(lab)
    pk = lab.key()
    write(table, pk)
    lab.put(table, pk, value="changed")
    tail.until(pk, lambda found: found)
    end = time.monotonic() + _LATE_SECONDS
    while "INSERT" not in _names(tail.of(pk)) and time.monotonic() < end and not lab.stopped.is_set():
        lab.pause(0.1)
        tail.poll()
    return "INSERT" if "INSERT" in _names(tail.of(pk)) else "not shown"


_NOT_SHOWN = unsafe("not shown", "nothing that is appended would ever be copied or projected")


@AREA.ask("Does the stream show an INSERT by ExecuteStatement?", "INSERT", _STREAMS, ACKNOWLEDGED, _NOT_SHOWN)
def stream_insert(lab: Lab) -> str:
    return _inserted(lab, lambda table, pk: lab.db.execute_statement(**insert(table, pk)))


@AREA.ask("Does the stream show an INSERT by BatchExecuteStatement?", "INSERT", _STREAMS, ACKNOWLEDGED, _NOT_SHOWN)
def stream_insert_in_batch(lab: Lab) -> str:
    return _inserted(lab, lambda table, pk: lab.db.batch_execute_statement(Statements=[insert(table, pk)]))


@AREA.ask("Does the stream show an INSERT by ExecuteTransaction?", "INSERT", _STREAMS, ACKNOWLEDGED, _NOT_SHOWN)
def stream_insert_in_transaction(lab: Lab) -> str:
    return _inserted(lab, lambda table, pk: lab.db.execute_transaction(TransactStatements=[insert(table, pk)]))


@AREA.ask(
    "Which events has an item that is put, changed and deleted?",
    "INSERT, MODIFY, REMOVE",
    f"{API}API_streams_Record.html",
    PREFIX,
)
def stream_event_names(lab: Lab) -> str:
    table, tail = _streamed(lab)
    pk = lab.key()
    lab.put(table, pk, value="a")
    lab.put(table, pk, value="b")
    lab.db.delete_item(TableName=table, Key=item(pk))
    return _names(_before_end(lab, table, tail, pk))


@AREA.ask(
    "Has a put that changes nothing a record?",
    "INSERT",
    _STREAMS,
    PREFIX,
    harmless("INSERT, MODIFY", "a projector that gets an event again folds nothing twice"),
)
def stream_identical_put(lab: Lab) -> str:
    return _names(_recorded(lab, {"value": "a"}, {"value": "a"}))


@AREA.ask("Has a refused write a record?", "INSERT", _STREAMS, PREFIX)
def stream_refused_put(lab: Lab) -> str:
    table, tail = _streamed(lab)
    pk = lab.key()
    lab.put(table, pk, value="a")
    refused = {"Item": item(pk, value="b"), "ConditionExpression": "attribute_not_exists(pk)"}
    outcome(lambda: lab.db.put_item(TableName=table, **refused))
    return _names(_before_end(lab, table, tail, pk))


@AREA.ask("Are the records of an item in the order of its changes?", "0 to 19 in order", _STREAMS, PREFIX)
def stream_order(lab: Lab) -> str:
    found = [each["dynamodb"]["NewImage"]["value"]["S"] for each in _recorded(lab, *({"value": f"{n}"} for n in range(20)))]
    return f"{found[0]} to {found[-1]} {'in order' if found == [str(n) for n in range(20)] else 'in disorder'}"


@AREA.ask(
    "Does each change have one record?",
    "20 records",
    _STREAMS,
    PREFIX,
    harmless("2[1-9] records", "a projector that gets an event again folds nothing twice"),
)
def stream_once(lab: Lab) -> str:
    return f"{len(_recorded(lab, *({'sk': f'{n:02d}'} for n in range(20))))} records"


@AREA.ask("Has each item of a batch of puts a record?", "10 records", _STREAMS, PREFIX)
def stream_batch_write(lab: Lab) -> str:
    table, tail = _streamed(lab)
    pk = lab.key()
    lab.db.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item(pk, str(n))}} for n in range(10)]})
    return f"{len(_before_end(lab, table, tail, pk))} records"


@AREA.ask("Has each item of a transaction a record?", "10 records", _STREAMS, PREFIX)
def stream_transaction(lab: Lab) -> str:
    table, tail = _streamed(lab)
    pk = lab.key()
    puts = [{"Put": {"TableName": table, "Item": item(pk, str(n))}} for n in range(10)]
    lab.db.transact_write_items(TransactItems=puts)
    return f"{len(_before_end(lab, table, tail, pk))} records"


@AREA.ask("Which images has a change?", "old a, new b", _STREAMS, PREFIX)
def stream_images(lab: Lab) -> str:
    change = _recorded(lab, {"value": "a"}, {"value": "b"})[1]["dynamodb"]
    return f"old {change['OldImage']['value']['S']}, new {change['NewImage']['value']['S']}"


@AREA.ask("Has the stream's image the item's number and bytes?", "as stored", _STREAMS, PREFIX)
def stream_image_types(lab: Lab) -> str:
    image = _recorded(lab, {"n": 12, "data": b"\x00\xff"})[0]["dynamodb"]["NewImage"]
    return "as stored" if (image["n"], image["data"]) == ({"N": "12"}, {"B": b"\x00\xff"}) else "changed"


@AREA.ask("Has a record the keys alone in Keys?", "pk, sk", _RECORD, PREFIX)
def stream_keys(lab: Lab) -> str:
    return ", ".join(sorted(_recorded(lab, {"value": "a"})[0]["dynamodb"]["Keys"]))


@AREA.ask(
    "Is ApproximateCreationDateTime the time of the change, to the minute?",
    "yes",
    _RECORD,
    BACKLOG,
    harmless("no", "the lag that is shown is wrong; nothing else goes by it"),
)
def stream_created(lab: Lab) -> str:
    began = time.time()
    created = _recorded(lab, {"value": "a"})[0]["dynamodb"]["ApproximateCreationDateTime"].timestamp()
    return "yes" if began - 60 <= created <= time.time() + 60 else "no"


@AREA.ask("Do the sequence numbers of an item rise?", "rising", _RECORD, PREFIX)
def stream_numbers(lab: Lab) -> str:
    found = [int(each["dynamodb"]["SequenceNumber"]) for each in _recorded(lab, *({"value": f"{n}"} for n in range(10)))]
    return "rising" if found == sorted(set(found)) and len(found) == 10 else "not rising"


@AREA.ask("Does NEW_IMAGE leave the old image out?", "new only", _STREAMS, PREFIX)
def stream_new_image(lab: Lab) -> str:
    table = lab.create(StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    tail = StreamTail(lab, lab.active(table)["LatestStreamArn"]).ready()
    pk = lab.key()
    lab.put(table, pk, value="a")
    lab.put(table, pk, value="b")
    record = _before_end(lab, table, tail, pk)[1]["dynamodb"]
    return "new only" if "NewImage" in record and "OldImage" not in record else "others"


@AREA.ask(
    "Does the stream show what is written as soon as the table is active?",
    "not documented",
    _STREAMS,
    ACKNOWLEDGED,
    harmless("shown", "the page does not say; an event that is written at once is copied"),
    hidden("not shown", "events that are written before the stream is enabled are found by `verify`, not by the stream"),
)
def stream_at_once(lab: Lab) -> str:
    table, pk = lab.create(StreamSpecification=_IMAGES), lab.key()
    lab.put(table, pk, "at once")
    tail = StreamTail(lab, lab.active(table)["LatestStreamArn"]).ready()
    found = [str(each["dynamodb"]["Keys"]["sk"]["S"]) for each in _before_end(lab, table, tail, pk)]
    return "shown" if "at once" in found else "not shown"


@AREA.ask(
    "Does TRIM_HORIZON of a shard without records show the first one?",
    "1 record",
    _ITERATOR,
    ACKNOWLEDGED,
    harmless("TrimmedDataAccessException", "Meridian begins at the oldest record again, and reads the lanes"),
)
def iterator_of_empty_shard(lab: Lab) -> str:
    table, other = (lab.create(StreamSpecification=_IMAGES) for _ in range(2))
    tail = StreamTail(lab, lab.active(table)["LatestStreamArn"])
    lab.until(lambda: tail.describe()["StreamStatus"] == "ENABLED")
    iterators = {each["ShardId"]: tail.iterator(each["ShardId"], "TRIM_HORIZON") for each in tail.describe()["Shards"]}
    for n in range(3):
        lab.put(other, lab.key(), str(n))
    lab.put(table, lab.key())
    found: list[Record] = []

    def look() -> str:
        for name, iterator in iterators.items():
            try:
                page = tail.client.get_records(ShardIterator=iterator)
            except ClientError as error:
                return code_of(error)
            found.extend(page["Records"])
            iterators[name] = page.get("NextShardIterator") or iterator
        return f"{len(found)} record" if found else ""

    return lab.until(look)


# -- iterators ----------------------------------------------------------------------------------------------------


def _three(lab: Lab) -> tuple[StreamTail, str, list[Record]]:
    """Write three items; return the tail, their shard, and their records."""
    table, tail = _streamed(lab)
    pk = lab.key()
    for n in range(3):
        lab.put(table, pk, str(n))
    mine = tail.until(pk, lambda found: len(found) >= 3)
    return tail, tail.shard_of(pk)[0], mine


def _read(tail: StreamTail, iterator: str, pk: str) -> list[str]:
    """Return the sort keys of this partition behind an iterator, up to a page without any."""
    found: list[str] = []
    for _ in range(50):
        page = tail.client.get_records(ShardIterator=iterator)
        found += [k["sk"]["S"] for each in page["Records"] if (k := each["dynamodb"]["Keys"])["pk"]["S"] == pk]
        iterator = page.get("NextShardIterator") or ""
        if not iterator or not page["Records"]:
            break
    return found


def _pk(records: list[Record]) -> str:
    return str(records[0]["dynamodb"]["Keys"]["pk"]["S"])


def _number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


@AREA.ask("What comes after AFTER_SEQUENCE_NUMBER of the first of three?", "1, 2", _ITERATOR, PREFIX)
def iterator_after(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    return ", ".join(_read(tail, tail.iterator(shard, "AFTER_SEQUENCE_NUMBER", _number(mine[0])), _pk(mine)))


@AREA.ask("What comes from AT_SEQUENCE_NUMBER of the second of three?", "1, 2", _ITERATOR, PREFIX)
def iterator_at(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    return ", ".join(_read(tail, tail.iterator(shard, "AT_SEQUENCE_NUMBER", _number(mine[1])), _pk(mine)))


@AREA.ask("What comes from TRIM_HORIZON?", "0, 1, 2", _ITERATOR, PREFIX)
def iterator_trim_horizon(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    return ", ".join(_read(tail, tail.iterator(shard, "TRIM_HORIZON"), _pk(mine)))


@AREA.ask("What comes after LATEST?", "3", _ITERATOR, PREFIX)
def iterator_latest(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    iterator = tail.iterator(shard, "LATEST")
    lab.put(_streamed(lab)[0], _pk(mine), "3")
    tail.until(_pk(mine), lambda found: len(found) >= 4)
    return ", ".join(_read(tail, iterator, _pk(mine)))


@AREA.ask("Has an iterator that was read to the end a next one?", "there is a next one", _RECORDS, PREFIX)
def iterator_next(lab: Lab) -> str:
    tail, shard, _ = _three(lab)
    iterator = tail.iterator(shard, "LATEST")
    return "there is a next one" if tail.client.get_records(ShardIterator=iterator).get("NextShardIterator") else "none"


@AREA.ask("Is an iterator good for two reads?", "0, 1, 2 twice", _RECORDS, PREFIX)
def iterator_again(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    iterator = tail.iterator(shard, "AT_SEQUENCE_NUMBER", _number(mine[0]))
    one, two = (_read(tail, iterator, _pk(mine)) for _ in range(2))
    return f"{', '.join(one)} {'twice' if one == two else 'once'}"


@AREA.ask("Does Limit bound a page?", "1 record", _RECORDS, BACKLOG)
def iterator_limit(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    iterator = tail.iterator(shard, "AT_SEQUENCE_NUMBER", _number(mine[0]))
    return f"{len(tail.client.get_records(ShardIterator=iterator, Limit=1)['Records'])} record"


_LOST = "Meridian continues at the oldest record, or reads the lanes"


@AREA.ask(
    "What answers AFTER_SEQUENCE_NUMBER of a number before the oldest?",
    "TrimmedDataAccessException",
    _ITERATOR,
    BACKLOG,
    harmless("ValidationException", _LOST),
    harmless("ResourceNotFoundException", _LOST),
    harmless("accepted", "what is left is read from the oldest record; the gap shows by its sequence in the lane"),
)
def iterator_below(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    low = "0" * len(_number(mine[0]))
    return outcome(lambda: tail.iterator(shard, "AFTER_SEQUENCE_NUMBER", low))


@AREA.ask(
    "What answers AFTER_SEQUENCE_NUMBER of a number beyond the newest?",
    "not documented",
    _ITERATOR,
    BACKLOG,
    harmless("*", "the page does not say; Meridian asks only for numbers that it read from this stream"),
)
def iterator_beyond(lab: Lab) -> str:
    tail, shard, mine = _three(lab)
    high = str(int(_number(mine[2])) + 10**6).zfill(len(_number(mine[2])))
    return outcome(lambda: tail.iterator(shard, "AFTER_SEQUENCE_NUMBER", high))


@AREA.ask(
    "What answers an iterator of a shard that is not there?",
    "ResourceNotFoundException",
    _ITERATOR,
    BACKLOG,
    harmless("ValidationException", _LOST),
    harmless("TrimmedDataAccessException", _LOST),
    hidden("accepted", "a reader whose shard is gone would not notice here"),
)
def iterator_without_shard(lab: Lab) -> str:
    tail, shard, _ = _three(lab)
    return outcome(lambda: tail.iterator(f"{shard[:-4]}0000", "TRIM_HORIZON"))


@AREA.ask(
    "What answers DescribeStream of a stream that is not there?",
    "ResourceNotFoundException",
    f"{API}API_streams_DescribeStream.html",
    RESTORED,
    harmless("ValidationException", "refused all the same"),
)
def stream_absent(lab: Lab) -> str:
    table, tail = _streamed(lab)
    arn = str(tail.describe()["StreamArn"]).replace(table, f"{lab.prefix}-absent")
    return outcome(lambda: tail.client.describe_stream(StreamArn=arn))


# -- shards and streams -------------------------------------------------------------------------------------------


@AREA.ask("Has every shard its first sequence number?", "every shard", _SHARD, PREFIX)
def shard_start(lab: Lab) -> str:
    shards = _streamed(lab)[1].describe()["Shards"]
    return (
        "every shard"
        if all(each["SequenceNumberRange"].get("StartingSequenceNumber") for each in shards)
        else "not every shard"
    )


@AREA.ask(
    "Are the records of a partition in one lineage of shards?",
    "one shard or its children",
    _SHARD,
    PREFIX,
    unsafe("several shards", "the order of a lane would be lost between shards"),
)
def shard_of_partition(lab: Lab) -> str:
    tail, _, mine = _three(lab)
    having = []
    for name in dict(tail.shards):
        if _read(tail, tail.iterator(name, "TRIM_HORIZON"), _pk(mine)):
            having.append(name)
    parents = {tail.shards[name].get("ParentShardId") for name in having}
    return "one shard or its children" if len(having) == 1 or len(set(having) - parents) == 1 else "several shards"


@AREA.ask(
    "Does a table with a new stream have several shards, or may a shard be replaced?",
    "several shards",
    _STREAMS,
    PREFIX,
    hidden("one shard", "a reader that follows one shard alone would pass every test here"),
)
def shard_count(lab: Lab) -> str:
    return "several shards" if len(_streamed(lab)[1].describe()["Shards"]) > 1 else "one shard"


_NOT_SWITCHED = hidden("UpdateTable refused: *", "a stream cannot be switched off and on here")


def _switched(lab: Lab) -> tuple[str, str, str, str]:
    """Switch a stream off and on; return the table, both ARNs, and the partition that was written before."""

    def make() -> tuple[str, str, str, str]:
        table, pk = lab.create(StreamSpecification=_IMAGES), lab.key()
        old = lab.active(table)["LatestStreamArn"]
        tail = StreamTail(lab, old).ready()
        lab.put(table, pk, "before")
        tail.until(pk, lambda found: found)
        lab.db.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
        lab.active(table)
        lab.until(lambda: time.time() % 1 < 0.9)  # stream labels have the milliseconds; some engines' the seconds
        lab.db.update_table(TableName=table, StreamSpecification=_IMAGES)
        return table, str(old), str(lab.active(table)["LatestStreamArn"]), pk

    return lab.shared("switched", make)


@AREA.ask(
    "Has a stream that is switched off and on a new ARN?",
    "another ARN",
    _STREAMS,
    RESTORED,
    unsafe("the same ARN", "a reader would look for its position in a stream that does not have it"),
    _NOT_SWITCHED,
)
def stream_switched_arn(lab: Lab) -> str:
    _, old, new, _ = _switched(lab)
    return "the same ARN" if old == new else "another ARN"


@AREA.ask(
    "Is the old stream readable after it was switched off and on?",
    "before",
    _STREAMS,
    BACKLOG,
    hidden("*", "what was written just before a stream was switched is read from the lanes instead"),
    _NOT_SWITCHED,
)
def stream_switched_readable(lab: Lab) -> str:
    _, old, _, pk = _switched(lab)
    found = StreamTail(lab, old).until(pk, lambda found: found)
    return str(found[0]["dynamodb"]["Keys"]["sk"]["S"])


@AREA.ask(
    "Does the new stream leave out what was written before it?",
    "after",
    _STREAMS,
    RESTORED,
    harmless("before, after", "a projector that gets an event again folds nothing twice"),
    _NOT_SWITCHED,
)
def stream_switched_new(lab: Lab) -> str:
    table, _, new, pk = _switched(lab)
    tail = StreamTail(lab, new).ready()
    lab.put(table, pk, "after")
    found = tail.until(pk, lambda found: any(e["dynamodb"]["Keys"]["sk"]["S"] == "after" for e in found))
    return ", ".join(each["dynamodb"]["Keys"]["sk"]["S"] for each in found)


@AREA.ask(
    "Is the old stream listed after it was switched off and on?",
    "listed",
    f"{API}API_streams_ListStreams.html",
    RESTORED,
    harmless("not listed", "Meridian finds streams by DescribeTable"),
    _NOT_SWITCHED,
)
def stream_switched_listed(lab: Lab) -> str:
    table, old, _, _ = _switched(lab)
    found = lab.client("dynamodbstreams").list_streams(TableName=table)["Streams"]
    return "listed" if old in {each["StreamArn"] for each in found} else "not listed"


@AREA.ask(
    "What is the status of a stream that was switched off?",
    "DISABLED",
    f"{API}API_streams_StreamDescription.html",
    BACKLOG,
    harmless("*", "Meridian reads shards and records alone"),
    _NOT_SWITCHED,
)
def stream_switched_status(lab: Lab) -> str:
    _, old, _, _ = _switched(lab)
    return str(StreamTail(lab, old).describe()["StreamStatus"])


@AREA.ask(
    "Are the shards of a stream that was switched off closed?",
    "closed",
    _STREAMS,
    BACKLOG,
    harmless("open", "a reader leaves a stream that another one has replaced once it is quiet"),
    _NOT_SWITCHED,
)
def stream_switched_closed(lab: Lab) -> str:
    _, old, _, _ = _switched(lab)
    shards = StreamTail(lab, old).describe()["Shards"]
    ended = [each["SequenceNumberRange"].get("EndingSequenceNumber") for each in shards]
    return "closed" if shards and all(ended) else "open"


@AREA.ask(
    "Is a stream that is on switched on again?",
    "ResourceInUseException",
    _STREAMS,
    RESTORED,
    harmless("ValidationException", "refused all the same"),
    hidden("accepted", "what AWS refuses passes here"),
    _NOT_SWITCHED,
)
def stream_on_again(lab: Lab) -> str:
    table, _, _, _ = _switched(lab)
    return outcome(lambda: lab.db.update_table(TableName=table, StreamSpecification=_IMAGES))
