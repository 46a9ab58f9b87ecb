"""DynamoDB Streams through the proxy: split shards, trimmed records, and iterators that hold their position.

Nothing is changed until a rule requires it. From then on iterators are the proxy's own; older ones have expired, so each
reader takes a new one from its position, as it must be able to.
"""

from __future__ import annotations

from typing import Any

from chaos.faults.batches import Ask
from chaos.faults.engine import Engine, Strike
from chaos.faults.messages import Head, Message, answer
from chaos.faults.records import partition_key, reordered
from chaos.faults.refusals import refusal
from chaos.faults.request import Asked
from chaos.faults.shards import Iterator, Topology, VirtualShard, is_ours, number

SERVICE = "dynamodbstreams"
STATEFUL = ("split-shard", "trim-records", "reorder-records")
_TRIMMED = "TrimmedDataAccessException"
_PAGES = 500
_PAGE = 1_000


class Streams:
    """All streams behind one endpoint."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ours = False
        self._streams: dict[str, Topology] = {}

    def concern(self, asked: Asked, request: Message) -> bool:
        """Return whether such a request must go through `ask` here, not straight to the service."""
        if asked.service != SERVICE or asked.operation not in ("DescribeStream", "GetShardIterator", "GetRecords"):
            return False
        self._ours = self._ours or is_ours(request.raw) or any(rule.effect in STATEFUL for rule in self._engine.rules)
        return self._ours

    async def ask(self, request: Message, asked: Asked, strike: Strike | None, ask: Ask) -> Message:
        """Return the answer to such a request. Raises what `ask` raises."""
        given = request.json()
        if not isinstance(given, dict):
            return await ask(request)
        if asked.operation == "DescribeStream":
            return await self._describe(request, given, ask)
        if asked.operation == "GetShardIterator":
            return await self._iterator(request, asked, given, ask)
        return await self._records(request, asked, given, strike, ask)

    def _topology(self, stream: object) -> Topology:
        return self._streams.setdefault(str(stream), Topology())

    async def _describe(self, request: Message, given: dict[str, Any], ask: Ask) -> Message:
        topology = self._topology(given.get("StreamArn"))
        if not topology.shards:
            return await ask(request)
        plain = {"StreamArn": given.get("StreamArn")}
        shards: list[dict[str, Any]] = []
        start: dict[str, Any] = {}
        while True:
            got = await ask(request.with_json({**plain, **start}))
            told = got.json()
            if got.status != 200:
                return got
            described = told["StreamDescription"]
            shards += described["Shards"]
            if not described.get("LastEvaluatedShardId"):
                break
            start = {"ExclusiveStartShardId": described["LastEvaluatedShardId"]}
        found = topology.described(shards)
        wanted = given.get("ShardFilter") or {}
        if wanted.get("Type") == "CHILD_SHARDS":
            found = [shard for shard in found if shard.get("ParentShardId") == wanted.get("ShardId")]
        names = [shard["ShardId"] for shard in found]
        if (first := given.get("ExclusiveStartShardId")) in names:
            found = found[names.index(first) + 1 :]
        page = found[: int(given.get("Limit") or 100)]
        more = {"LastEvaluatedShardId": page[-1]["ShardId"]} if len(page) < len(found) else {}
        return got.with_json({"StreamDescription": {**described, "Shards": page, **more}})

    async def _iterator(self, request: Message, asked: Asked, given: dict[str, Any], ask: Ask) -> Message:
        topology = self._topology(given.get("StreamArn"))
        shard = topology.shard(str(given.get("ShardId")))
        horizon = topology.horizon(shard)
        kind, sequence = given.get("ShardIteratorType"), given.get("SequenceNumber")
        wanted = {"StreamArn": given.get("StreamArn"), "ShardId": shard.root}
        from_start = {**wanted, "ShardIteratorType": "TRIM_HORIZON"}
        position: str | None = None
        if kind == "TRIM_HORIZON":
            position = max(shard.low, horizon, key=number)
            wanted |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": position} if position else from_start
        else:
            wanted = {**given, "ShardId": shard.root}
            if kind != "LATEST" and isinstance(sequence, str) and sequence.isdecimal():
                if number(sequence) <= number(horizon):
                    return _refused(request, asked, _TRIMMED)
                position = sequence if kind == "AFTER_SEQUENCE_NUMBER" else str(number(sequence) - 1)
        got = await ask(request.with_json(wanted))
        if kind == "TRIM_HORIZON" and position and _TRIMMED.encode() in got.raw:
            got = await ask(request.with_json(from_start))  # the service has trimmed further than that
        if got.status != 200:
            return got
        ours = Iterator(str(given.get("StreamArn")), shard.name, position, got.json()["ShardIterator"])
        return got.with_json({"ShardIterator": str(ours)})

    async def _records(
        self, request: Message, asked: Asked, given: dict[str, Any], strike: Strike | None, ask: Ask
    ) -> Message:
        ours = Iterator.parse(given.get("ShardIterator"))
        effect = strike.rule.effect if strike is not None else ""
        if strike is not None and effect in STATEFUL and ours is None:
            strike.missed()
        if ours is None:
            return _refused(request, asked, "ExpiredIteratorException")
        topology = self._topology(ours.stream)
        shard = topology.shard(ours.shard)
        if number(topology.horizon(shard)) > number(ours.position) and ours.position is not None:
            _miss(strike)
            return _refused(request, asked, _TRIMMED)
        if shard.ended(ours.position):
            _miss(strike)
            return answer(200, "OK", {"content-type": _kind(request), "x-amz-crc32": "0"}, b"").with_json({"Records": []})
        got = await ask(request.with_json({**given, "ShardIterator": ours.iterator}))
        if got.status != 200:
            _miss(strike)
            return got
        if topology.hash_name is None:
            topology.hash_name = await self._partition_key(request, ours.stream, ask)
        key = partition_key(topology.hash_name)
        told = got.json()
        records: list[dict[str, Any]] = told.get("Records", [])
        if strike is not None and effect in ("trim-records", "split-shard"):
            following = await self._following(request, told.get("NextShardIterator"), ask)
            if not self._change(topology, shard, ours, strike, None if following is None else [*records, *following]):
                strike.missed()
            elif effect == "trim-records":
                return _refused(request, asked, _TRIMMED)
            shard = topology.shard(ours.shard)
        last = records[-1]["dynamodb"]["SequenceNumber"] if records else ours.position
        shown = [record for record in records if shard.holds(record, key)]
        if strike is not None and effect == "reorder-records":
            mixed = reordered(shown, strike.rule.share, strike.chance, key, strike.rule.harsh)
            if mixed is None:
                strike.missed()
            shown = [dict(record) for record in mixed or shown]
        told["Records"] = shown
        following_iterator = told.pop("NextShardIterator", None)
        if following_iterator is not None and not shard.ended(last):
            told["NextShardIterator"] = str(Iterator(ours.stream, shard.name, last, following_iterator))
        return got.with_json(told)

    def _change(
        self, topology: Topology, shard: VirtualShard, ours: Iterator, strike: Strike, unread: list[dict[str, Any]] | None
    ) -> bool:
        """Trim or split as the strike says; `unread` is all that the service holds behind the iterator. Returns whether it
        could."""
        if unread is None:
            return False
        if strike.rule.effect == "split-shard":
            end = unread[-1]["dynamodb"]["SequenceNumber"] if unread else ours.position
            return bool(end) and topology.split(shard, max(end or "", shard.low, key=number))
        lost = [each for each in unread if shard.holds(each, partition_key(topology.hash_name))]
        if not lost or ours.position is None:
            return False
        end = lost[max(1, round(len(lost) * strike.rule.share)) - 1]["dynamodb"]["SequenceNumber"]
        topology.trim(shard, end)
        return True

    async def _following(self, request: Message, iterator: str | None, ask: Ask) -> list[dict[str, Any]] | None:
        """Return all that the service holds from here on. None: it fails, or there is no end to it."""
        found: list[dict[str, Any]] = []
        for _ in range(_PAGES):
            if iterator is None:
                return found
            got = await ask(request.with_json({"ShardIterator": iterator, "Limit": _PAGE}))
            told = got.json()
            if got.status != 200:
                return None
            if not told["Records"]:
                return found
            found += told["Records"]
            iterator = told.get("NextShardIterator")
        return None

    async def _partition_key(self, request: Message, stream: str, ask: Ask) -> str | None:
        """Return the table's partition key from the stream's description."""
        head = Head.parse(request.head.replaced({"x-amz-target": "DynamoDBStreams_20120810.DescribeStream"}))
        told = (await ask(Message(head, b"").with_json({"StreamArn": stream}))).json() or {}
        schema = told.get("StreamDescription", {}).get("KeySchema", [])
        return next((each["AttributeName"] for each in schema if each["KeyType"] == "HASH"), None)


def _miss(strike: Strike | None) -> None:
    if strike is not None:
        strike.missed()


def _kind(request: Message) -> str:
    return request.head.headers.get("content-type", "application/x-amz-json-1.0")


def _refused(request: Message, asked: Asked, code: str) -> Message:
    return refusal(asked, 400, code, content_type=_kind(request))
