"""Faults of a page of stream records: some twice, or in another order. Within a partition key the order is kept, unless the
fault is harsh."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def duplicated(records: Sequence[Record], share: float, chance: random.Random) -> list[Record]:
    """Return the records with `share` of them, one at least, twice, one right after the other: a producer that tried
    again."""
    twice = set(chance.sample(range(len(records)), max(1, round(len(records) * share)))) if records else set()
    return [each for i, record in enumerate(records) for each in [record] * (2 if i in twice else 1)]


def reordered(
    records: Sequence[Record], share: float, chance: random.Random, key: Callable[[Record], Hashable], harsh: bool
) -> list[Record] | None:
    """Return the records with `share` of them, two at least, in other places. None: none of them can move.

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
    """Fill the places that a key has in `mixed` with its records in the order of `records`."""
    waiting: dict[Hashable, list[Record]] = {}
    for record in reversed(records):
        waiting.setdefault(key(record), []).append(record)
    return [waiting[key(record)].pop() for record in mixed]


def partition_key(name: str | None) -> Callable[[Record], Hashable]:
    """Return a function from a record to its partition: the attribute `name` of its keys (all of them where it is not
    known), or Kinesis's own."""

    def key(record: Record) -> Hashable:
        if "PartitionKey" in record:
            return str(record["PartitionKey"])
        keys = record.get("dynamodb", {}).get("Keys", {})
        return json.dumps(keys.get(name, keys), sort_keys=True)

    return key
