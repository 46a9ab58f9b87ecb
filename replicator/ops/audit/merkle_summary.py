"""Merkle summary of a region: the head of each of its lanes, and one digest for each range of lanes. Pure.

A lane's head covers all of it: its digest is chained to every event before. A range's digest covers all of its lanes. So two
equal regions compare equal in a few reads, and differences are found by reading only the differing ranges.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from replicator.domain.event import Head
from replicator.domain.names import LaneId

RANGES = 1024
"""Number of ranges that lanes are spread over by the hash of their name. A range of 1,000 lanes is an item of about 100
KB."""
PART_BYTES = 300_000
"""Maximum bytes of a range that are stored as one item (DynamoDB's limit is 400 KB)."""
_LINE_BYTES = 80
"""Maximum bytes of a lane beside its name: its sequence of 16 digits, digest, time, and separators."""
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """Summary of one lane: its last sequence, that event's digest (the first 16 bytes, in hexadecimal) and its time in
    milliseconds. `suspect`: something other than an append has happened to the lane, so its events must be read."""

    sequence: int
    digest: str
    ms: int
    suspect: bool = False

    @classmethod
    def at(cls, head: Head) -> Entry:
        return cls(head.sequence, short(head.digest), head.hlc.ms)

    @property
    def line(self) -> list[Any]:
        """Stored form."""
        return [self.sequence, self.digest, self.ms]

    @classmethod
    def parse(cls, line: Sequence[Any]) -> Entry:
        return cls(*line)


def short(digest: bytes) -> str:
    """Return the part of a digest that the summary keeps."""
    return digest[:_DIGEST_BYTES].hex()


def range_of(lane: LaneId) -> int:
    """Return the range that a lane belongs to, 0 to RANGES - 1."""
    return int.from_bytes(sha256(lane.key.encode()).digest()[:2]) % RANGES


class Share(NamedTuple):
    """Share of one region's lanes in a range: number of lanes, number of events, and the time of the newest event in
    milliseconds since the epoch."""

    lanes: int = 0
    events: int = 0
    newest: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """Summary of a range in one line. `digest` is equal for equal ranges; `homes` is the share of each region's lanes."""

    digest: str = ""
    homes: Mapping[str, Share] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        return sum(share.lanes for share in self.homes.values())

    @property
    def events(self) -> int:
        return sum(share.events for share in self.homes.values())


@dataclass(slots=True)
class Range:
    """Lanes of one range."""

    lanes: dict[LaneId, Entry] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the range: equal for equal ranges; empty for an empty one."""
        if not self.lanes:
            return ""
        found = sha256()
        for lane, entry in sorted(self.lanes.items(), key=lambda pair: pair[0].key):
            found.update(f"{lane.key}\n{entry.sequence}\n{entry.digest}\n".encode())
        return found.digest()[:_DIGEST_BYTES].hex()

    @property
    def sum(self) -> Sum:
        """Summary of the range without the names of its lanes."""
        homes: dict[str, Share] = {}
        for lane, entry in self.lanes.items():
            share = homes.get(lane.region, Share())
            homes[lane.region] = Share(share.lanes + 1, share.events + entry.sequence, max(share.newest, entry.ms))
        return Sum(self.digest, homes)

    def parts(self, stored: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the stored form, in parts that fit an item each, on top of the parts that are `stored`.

        A lane stays permanently in its part (the first one, if two keepers have put it into two), and new lanes go where
        there is room, by name.
        """
        found: dict[str, dict[str, Any]] = {key: {} for key in sorted(stored, key=_part_number)}
        where = {name: key for key in reversed(found) for name in stored[key]}
        lines = {lane.key: entry.line for lane, entry in self.lanes.items() if entry.sequence}
        for name, line in lines.items():
            if name in where:
                found[where[name]][name] = line
        sizes = {key: sum(map(_line_bytes, lines)) for key, lines in found.items()}
        number = 0
        for name in sorted(lines.keys() - where.keys()):
            size = _line_bytes(name)
            while sizes.get(_part_key(number), 0) + size > PART_BYTES:
                number += 1
            found.setdefault(_part_key(number), {})[name] = lines[name]
            sizes[_part_key(number)] = sizes.get(_part_key(number), 0) + size
        return found

    @classmethod
    def parse(cls, stored: Mapping[str, Mapping[str, Any]]) -> Range:
        """Parse a range from its parts. For a lane in two parts the longer entry counts."""
        held = cls()
        for value in stored.values():
            for name, line in value.items():
                lane, entry = LaneId.from_key(name), Entry.parse(line)
                held.lanes[lane] = max(entry, held.lanes.get(lane, entry), key=lambda each: each.sequence)
        return held


def _part_key(number: int) -> str:
    return f"lanes-{number}" if number else "lanes"


def _part_number(key: str) -> int:
    return int(key.partition("-")[2] or 0)


def _line_bytes(name: str) -> int:
    """Return the maximum bytes of a lane's line as JSON in ASCII, whatever happens to the lane."""
    return len(json.dumps(name)) + _LINE_BYTES


def by_range(lanes: Iterable[LaneId]) -> dict[int, list[LaneId]]:
    """Group lanes by their range."""
    found: dict[int, list[LaneId]] = {}
    for lane in lanes:
        found.setdefault(range_of(lane), []).append(lane)
    return found
