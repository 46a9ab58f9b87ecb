"""The ledger of a region: where each of its lanes stands, and one digest for each range of lanes. Pure.

A lane's head says all of it: its digest is chained to every event before. A range's digest says all of its lanes. So two
regions that hold the same are equal in a few reads, and what differs is found by looking only there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from replicator.domain.event import Event, Head
from replicator.domain.names import LaneId

RANGES = 1024
"""Into so many ranges lanes are spread by the hash of their name. A range of 1,000 lanes is an item of about 100 KB."""
SUMS = 16
"""So many items hold the digests of all ranges: 64 each, which is 90 KB with the lanes of 20 regions."""
PART_BYTES = 300_000
"""The most bytes of a range that are stored as one item (DynamoDB's limit is 400 KB)."""
_LINE_BYTES = 80
"""What a lane takes beside its name, at most: its sequence of 16 digits, digest, time, suspicion, and what is between."""
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A lane as the ledger has it: its last sequence, that event's digest (the first 16 bytes, in hexadecimal) and its time
    in milliseconds. `suspect`: something touched the lane that was no append, so its events are to be read."""

    sequence: int
    digest: str
    ms: int
    suspect: bool = False

    @classmethod
    def of(cls, event: Event) -> Entry:
        return cls(event.sequence, short(event.digest), event.hlc.ms)

    @classmethod
    def at(cls, head: Head) -> Entry:
        return cls(head.sequence, short(head.digest), head.hlc.ms)

    @property
    def line(self) -> list[Any]:
        """As it is stored."""
        return [self.sequence, self.digest, self.ms, *([1] if self.suspect else [])]

    @classmethod
    def parse(cls, line: Sequence[Any]) -> Entry:
        return cls(line[0], line[1], line[2], bool(line[3:]))

    def join(self, other: Entry) -> Entry:
        """The later of the two; a suspicion stays until it is cleared."""
        later = max(self, other, key=lambda entry: entry.sequence)
        return Entry(later.sequence, later.digest, later.ms, self.suspect or other.suspect)


def short(digest: bytes) -> str:
    """As much of a digest as the ledger keeps."""
    return digest[:_DIGEST_BYTES].hex()


def range_of(lane: LaneId) -> int:
    """The range that a lane belongs to, 0 to RANGES - 1."""
    return int.from_bytes(sha256(lane.key.encode()).digest()[:2]) % RANGES


class Share(NamedTuple):
    """What a range holds of one region's lanes: how many, with how many events, and the time of the newest one in
    milliseconds since the epoch."""

    lanes: int = 0
    events: int = 0
    newest: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """A range in one line. `digest` is equal for equal ranges; `homes` is what it holds of each region's lanes."""

    digest: str = ""
    suspects: int = 0
    homes: Mapping[str, Share] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        return sum(share.lanes for share in self.homes.values())

    @property
    def events(self) -> int:
        return sum(share.events for share in self.homes.values())

    @property
    def value(self) -> list[Any]:
        """As it is stored."""
        return [self.digest, self.suspects, {region: list(share) for region, share in self.homes.items()}]

    @classmethod
    def parse(cls, value: Sequence[Any]) -> Sum:
        return cls(value[0], value[1], {region: Share(*share) for region, share in value[2].items()})


@dataclass(slots=True)
class Range:
    """The lanes of one range."""

    lanes: dict[LaneId, Entry] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Equal for equal ranges; empty for an empty one."""
        if not self.lanes:
            return ""
        found = sha256()
        for lane, entry in sorted(self.lanes.items(), key=lambda pair: pair[0].key):
            found.update(f"{lane.key}\n{entry.sequence}\n{entry.digest}\n".encode())
        return found.digest()[:_DIGEST_BYTES].hex()

    @property
    def sum(self) -> Sum:
        """What the ledger says of the range without naming its lanes."""
        homes: dict[str, Share] = {}
        for lane, entry in self.lanes.items():
            share = homes.get(lane.region, Share())
            homes[lane.region] = Share(share.lanes + 1, share.events + entry.sequence, max(share.newest, entry.ms))
        return Sum(self.digest, sum(entry.suspect for entry in self.lanes.values()), homes)

    def parts(self, stored: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """As it is stored, in parts that fit an item each, on top of the parts that are `stored`.

        A lane stays for good in the part that it is in (the first one, where two keepers have put it into two), and new
        lanes go where there is room, by name. So whoever writes the parts in their order and is killed between two loses no
        lane that was stored.
        """
        found: dict[str, dict[str, Any]] = {key: {} for key in sorted(stored, key=_part_number)}
        where = {name: key for key in reversed(found) for name in stored[key]}
        lines = {lane.key: entry.line for lane, entry in self.lanes.items()}
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
        """From its parts. A lane that is in two is as far as the one that has more of it says."""
        held = cls()
        for value in stored.values():
            for name, line in value.items():
                lane, entry = LaneId.from_key(name), Entry.parse(line)
                held.lanes[lane] = entry.join(held.lanes.get(lane, entry))
        return held


def _part_key(number: int) -> str:
    return f"lanes-{number}" if number else "lanes"


def _part_number(key: str) -> int:
    return int(key.partition("-")[2] or 0)


def _line_bytes(name: str) -> int:
    """The most that a lane's line can come to as JSON in ASCII, whatever happens to the lane."""
    return len(json.dumps(name)) + _LINE_BYTES


def by_range(lanes: Iterable[LaneId]) -> dict[int, list[LaneId]]:
    """Lanes put together by their range."""
    found: dict[int, list[LaneId]] = {}
    for lane in lanes:
        found.setdefault(range_of(lane), []).append(lane)
    return found
