"""Region whose stream has several shards: `python -m benchmarks.shared_stream PORT SHARDS PAGES DELAY_MS`.

It serves what `replicator run` and `projectors run` ask of their own region: the stream, made beforehand, the control
table, and a table of views that accepts every write after the delay.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.bench import EAST
from benchmarks.events import Chains, record
from benchmarks.peer import serve
from replicator.control.memory_control import MemoryControl
from replicator.fencing.roles import ACTIVE, Role, change_role

BEGIN = "Bench.Begin"
"""Operation that forgets all control state, and shows an empty stream."""
GO = "Bench.Go"
"""Operation that fills the stream."""
STATE = "Bench.State"
"""Operation that returns the owners of shards by reader, and the seconds from GO to the last checkpoint (0: not yet)."""
PAGE = 1000
_ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/meridian-events/stream/1"
_TABLE: dict[str, Any] = {
    "TableStatus": "ACTIVE",
    "TableId": "bench",
    "CreationDateTime": 1.0,
    "LatestStreamArn": _ARN,
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
}


class Home:
    """State of the region, and its answers."""

    def __init__(self, shards: int, pages: int, delay: float) -> None:
        self._delay = delay
        self._shards = {f"shard-{n}": [b"".join((b"[", page, b"]")) for page in _pages(n, pages)] for n in range(shards)}
        self._end = f"{pages * PAGE:021d}"
        self._begin()

    def _begin(self, given: Any = None) -> Any:
        self._control = MemoryControl()
        change_role(self._control, None, Role(1, ACTIVE, {"events": "bench", "control": "bench"}))
        self._began = self._took = 0.0
        return {}

    def delay_of(self, target: str, body: bytes) -> float:
        return self._delay if b"-views" in body else 0.0

    def note(self, body: bytes) -> None:
        """Nothing is counted."""

    def answer(self, target: str, body: bytes) -> bytes:
        operation = target.rpartition(".")[2]
        if operation == "GetRecords":
            return self._records(json.loads(body))
        return json.dumps(getattr(self, f"_{operation.lower()}", self._anything)(json.loads(body))).encode()

    # -- the benchmark -------------------------------------------------------------------------------------------------

    def _go(self, given: Any) -> Any:
        self._began = time.perf_counter()
        return {}

    def _state(self, given: Any) -> Any:
        owners = {
            reader: [value.get("owner") for name, value in self._control.get_all(f"checkpoint#{reader}") if name[0] != "@"]
            for reader in ("replicator", "projector")
        }
        return {"owners": owners, "took": self._took}

    # -- the stream ----------------------------------------------------------------------------------------------------

    def _describestream(self, given: Any) -> Any:
        return {"StreamDescription": {"StreamArn": _ARN, "Shards": [{"ShardId": name} for name in self._shards]}}

    def _getsharditerator(self, given: Any) -> Any:
        return {"ShardIterator": f"{given['ShardId']}@{int(given.get('SequenceNumber', 0)) // PAGE}"}

    def _records(self, given: Any) -> bytes:
        name, _, at = given["ShardIterator"].partition("@")
        pages, page = self._shards[name], int(at)
        if not self._began or page == len(pages):
            return b'{"Records":[],"NextShardIterator":"%s@%d"}' % (name.encode(), page)
        return b'{"Records":%s,"NextShardIterator":"%s@%d"}' % (pages[page], name.encode(), page + 1)

    # -- tables --------------------------------------------------------------------------------------------------------

    def _describetable(self, given: Any) -> Any:
        return {"Table": {"TableName": given["TableName"], **_TABLE}}

    def _query(self, given: Any) -> Any:
        scope = given.get("ExpressionAttributeValues", {}).get(":scope", {}).get("S", "")
        after = given.get("ExpressionAttributeValues", {}).get(":after", {}).get("S", "")
        found = self._control.get_all(scope, given.get("Limit"), after)
        items = [{"pk": {"S": scope}, "sk": {"S": key}, "value": {"S": json.dumps(value)}} for key, value in found]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def _scan(self, given: Any) -> Any:
        return {"Items": [], "Count": 0, "ScannedCount": 0}

    def _batchgetitem(self, given: Any) -> Any:
        return {"Responses": dict.fromkeys(given["RequestItems"], ()), "UnprocessedKeys": {}}

    def _batchwriteitem(self, given: Any) -> Any:
        for puts in (puts for table, puts in given["RequestItems"].items() if table.endswith("-control")):
            for item in (put["PutRequest"]["Item"] for put in puts if "PutRequest" in put):
                self._control.put(item["pk"]["S"], {item["sk"]["S"]: json.loads(item["value"]["S"])})
        return {"UnprocessedItems": {}}

    def _batchexecutestatement(self, given: Any) -> Any:
        return {"Responses": [self._executed(each) for each in given["Statements"]]}

    def _executed(self, given: Any) -> Any:
        statement = given["Statement"]
        if '-control"' not in statement:
            return {}
        words = [each["S"] for each in given["Parameters"]]
        if statement.startswith("DELETE"):
            self._control.delete(words[0], {words[1]: json.loads(words[2])})
            return {}
        if statement.startswith("INSERT"):
            scope, key, before, after = words[0], words[1], None, json.loads(words[2])
        else:
            after, scope, key, before = json.loads(words[0]), words[1], words[2], json.loads(words[3])
        if not self._control.swap(scope, key, before, after):
            return {"Error": {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}}
        if after.get("position") == self._end:
            values = dict(self._control.get_all(scope))
            if all(values.get(name, {}).get("position") == self._end for name in self._shards):
                self._took = time.perf_counter() - self._began
        return {}

    def _anything(self, given: Any) -> Any:
        return {}


def _pages(shard: int, pages: int) -> list[bytes]:
    chains, found = Chains(EAST, f"s{shard}x", PAGE), []
    for page in range(pages):
        records = [record(event) for event in chains.grow()]
        for number, each in enumerate(records):
            each["dynamodb"]["SequenceNumber"] = f"{page * PAGE + number + 1:021d}"
        found.append(json.dumps(records)[1:-1].encode())
    return found


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Home(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) / 1000)))
