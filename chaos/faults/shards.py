"""Shards that the proxy shows of a stream, where the service behind it has one: split in two, and trimmed.

A key belongs to the shard whose range its hash is in, so each key's records stay in one shard and in their order. A split
lasts for as long as the proxy runs: readers keep positions in those shards.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

_RANGE = 1 << 32
_PREFIX = "meridian:"
_ID = 55


def number(sequence: str | None) -> int:
    """Return a sequence number for comparison; 0, which is before all others, for none."""
    return int(sequence) if sequence else 0


def _place(key: str) -> int:
    """Return the place of a partition key in the range of hashes."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest())


@dataclass(slots=True)
class VirtualShard:
    """Part of `root`, a shard of the service: records behind `low`, up to `high` (None: it is open), whose key's hash is in
    `keys`."""

    name: str
    root: str
    parent: str | None = None
    low: str = ""
    high: str | None = None
    keys: tuple[int, int] = (0, _RANGE)

    def holds(self, record: Mapping[str, Any], key: Callable[[Mapping[str, Any]], Hashable]) -> bool:
        at = number(record["dynamodb"]["SequenceNumber"])
        if at <= number(self.low) or (self.high is not None and at > number(self.high)):
            return False
        return self.keys == (0, _RANGE) or self.keys[0] <= _place(str(key(record))) < self.keys[1]

    def ended(self, position: str | None) -> bool:
        """Return whether a reader that has come to `position` (None: the end) has read all that the shard will ever hold."""
        return self.high is not None and (position is None or number(position) >= number(self.high))


@dataclass(slots=True)
class Topology:
    """Shards of one stream as the proxy shows them."""

    shards: dict[str, VirtualShard] = field(default_factory=dict)
    """Shards that were split, and those that they were split into."""
    horizons: dict[str, str] = field(default_factory=dict)
    """Last trimmed record, by shard of the service."""
    hash_name: str | None = None
    """Partition key of the table, once it is known."""

    def shard(self, name: str) -> VirtualShard:
        """Return the shard of that name: the service's own where it was never split."""
        return self.shards.get(name) or VirtualShard(name, name)

    def horizon(self, shard: VirtualShard) -> str:
        return self.horizons.get(shard.root, "")

    def trim(self, shard: VirtualShard, last: str) -> None:
        """Trim records up to `last`."""
        self.horizons[shard.root] = max(self.horizon(shard), last, key=number)

    def split(self, shard: VirtualShard, last: str) -> bool:
        """Close the shard behind `last`; two others go on. Returns False when it is closed already, or a single key's."""
        shard = self.shards.setdefault(shard.name, shard)
        low, high = shard.keys
        if shard.high is not None or high - low < 2:
            return False
        shard.high = last
        middle = (low + high) // 2
        for keys in ((low, middle), (middle, high)):
            name = f"{shard.root[:_ID]}-{len(self.shards):08d}"
            self.shards[name] = VirtualShard(name, shard.root, shard.name, last, None, keys)
        return True

    def described(self, shards: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the service's description of its shards, with those that the proxy added."""
        found = []
        for each in shards:
            found.append(self._described(each, self.shard(each["ShardId"])))
            found += [
                self._described({}, shard)
                for shard in self.shards.values()
                if shard.root == each["ShardId"] and shard.name != shard.root
            ]
        return found

    @staticmethod
    def _described(known: dict[str, Any], shard: VirtualShard) -> dict[str, Any]:
        bounds = dict(known.get("SequenceNumberRange", {}))
        if shard.low:
            bounds["StartingSequenceNumber"] = str(number(shard.low) + 1).zfill(len(shard.low))
        if shard.high:
            bounds["EndingSequenceNumber"] = shard.high
        parent = {"ParentShardId": shard.parent} if shard.parent else {}
        return {**known, "ShardId": shard.name, "SequenceNumberRange": bounds, **parent}


@dataclass(frozen=True, slots=True)
class Iterator:
    """Content of an iterator of the proxy's. `position` is the last record behind it; None: it began at the end."""

    stream: str
    shard: str
    position: str | None
    iterator: str

    def __str__(self) -> str:
        held = json.dumps([self.stream, self.shard, self.position, self.iterator], separators=(",", ":"))
        return _PREFIX + base64.urlsafe_b64encode(held.encode()).decode()

    @classmethod
    def parse(cls, text: object) -> Iterator | None:
        """Return the iterator, or None when it is not one of the proxy's."""
        if not isinstance(text, str) or not text.startswith(_PREFIX):
            return None
        try:
            stream, shard, position, iterator = json.loads(base64.urlsafe_b64decode(text.removeprefix(_PREFIX)))
        except (ValueError, binascii.Error):
            return None
        return cls(str(stream), str(shard), None if position is None else str(position), str(iterator))


def is_ours(body: bytes) -> bool:
    """Return whether a request may hold an iterator of the proxy's."""
    return _PREFIX.encode() in body
