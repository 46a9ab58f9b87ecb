"""A page of stream records, with some twice or in another order. Within a partition key the order is kept, unless it is
asked to be harsh.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def duplicated(records: Sequence[Record], share: float, chance: random.Random) -> list[Record]:
    """`share` of the records, one at least, come twice, one right after the other: a producer that tried again."""
    twice = set(chance.sample(range(len(records)), max(1, round(len(records) * share)))) if records else set()
    return [each for i, record in enumerate(records) for each in [record] * (2 if i in twice else 1)]


def reordered(
    records: Sequence[Record], share: float, chance: random.Random, key: Callable[[Record], Hashable], harsh: bool
) -> list[Record] | None:
    """`share` of the records, two at least, change places. None: none of them can.

    Each keeps its own sequence number. Unless `harsh`, records of one key stay in their order.
    """
    if len(records) < 2:
        return None
    places = sorted(chance.sample(range(len(records)), min(len(records), max(2, round(len(records) * share)))))
    moved = list(places)
    for _ in range(4):  # a shuffle may change nothing
        chance.shuffle(moved)
        found = list(records)
        for place, source in zip(places, moved, strict=True):
            found[place] = records[source]
        if not harsh:
            found = _in_key_order(records, found, key)
        if any(one is not other for one, other in zip(found, records, strict=True)):
            return found
    return None


def _in_key_order(records: Sequence[Record], mixed: Sequence[Record], key: Callable[[Record], Hashable]) -> list[Record]:
    """The places that a key has in `mixed`, filled with its records as they come in `records`."""
    waiting: dict[Hashable, list[Record]] = {}
    for record in reversed(records):
        waiting.setdefault(key(record), []).append(record)
    return [waiting[key(record)].pop() for record in mixed]


def partition_key(name: str | None) -> Callable[[Record], Hashable]:
    """What tells the partition that a record belongs to: the attribute `name` of its keys (all of them where it is not
    known), or Kinesis's own."""

    def key(record: Record) -> Hashable:
        if "PartitionKey" in record:
            return str(record["PartitionKey"])
        keys = record.get("dynamodb", {}).get("Keys", {})
        return json.dumps(keys.get(name, keys), sort_keys=True)

    return key
