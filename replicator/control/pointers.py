"""Pointers: entries of a retry queue (hinted handoff), as text. They name lanes and sequences and never hold a payload, so
they cannot go stale: the reader of a pointer reads the lane again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicator.domain.errors import InvalidName, MeridianError
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key

VERSION = 1
MAX_MESSAGE_BYTES = 200_000
"""Maximum bytes of one message; SQS accepts 256 KB."""

Spans = Mapping[LaneId, tuple[int, int]]


class InvalidPointers(MeridianError, ValueError):
    """The message is not pointers. It goes to the dead letters, where an operator sees it."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Sequences of some lanes that `link` still has to copy.

    `since` is when the first of them began to wait, in milliseconds since the epoch; `tries` counts the failed
    attempts; `cause` is why it is among the dead letters (empty elsewhere).
    """

    link: str
    lanes: Spans
    since: int
    tries: int = 0
    cause: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        value: dict[str, Any] = {
            "v": VERSION,
            "link": self.link,
            "since": self.since,
            "tries": self.tries,
            "lanes": {lane.key: list(span) for lane, span in sorted(self.lanes.items(), key=lambda pair: pair[0].key)},
        }
        if self.cause:
            value["cause"] = dict(sorted(self.cause.items()))
        return json.dumps(value, separators=(",", ":"))  # ASCII: SQS refuses some characters that names may contain

    @classmethod
    def parse(cls, text: str) -> Pointers:
        """Invert `str`. Raises InvalidPointers."""
        try:
            value = json.loads(text)
            if value["v"] != VERSION:
                raise InvalidPointers(f"pointers of version {value['v']!r}; this code reads version {VERSION}")
            lanes = {LaneId.from_key(key): (_sequence(span[0]), _sequence(span[1])) for key, span in value["lanes"].items()}
            if any(low > high for low, high in lanes.values()):
                raise InvalidPointers("a pointer ends before it begins")
            since, tries = int(value["since"]), int(value["tries"])
            if since < 0 or tries < 0:
                raise InvalidPointers(f"pointers since {since} after {tries} tries")
            return cls(str(value["link"]), lanes, since, tries, dict(value.get("cause", {})))
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, InvalidName) as error:
            if isinstance(error, InvalidPointers):
                raise
            raise InvalidPointers(f"not pointers: {type(error).__name__}: {error}") from None

    def split(self, max_bytes: int = MAX_MESSAGE_BYTES) -> Iterator[Pointers]:
        """Split into messages of bounded size."""
        part: dict[LaneId, tuple[int, int]] = {}
        size = 0
        for lane, span in self.lanes.items():
            weight = len(json.dumps(lane.key)) + 40  # sequences have up to 16 digits each
            if part and size + weight > max_bytes:
                yield Pointers(self.link, part, self.since, self.tries, self.cause)
                part, size = {}, 0
            part[lane] = span
            size += weight
        if part:
            yield Pointers(self.link, part, self.since, self.tries, self.cause)


def spans(events: Sequence[Event]) -> dict[LaneId, tuple[int, int]]:
    """Return the lowest and highest sequence of each lane among `events`."""
    found: dict[LaneId, tuple[int, int]] = {}
    for event in events:
        low, high = found.get(event.lane, (event.sequence, event.sequence))
        found[event.lane] = (min(low, event.sequence), max(high, event.sequence))
    return found


def join(spans: Iterable[Spans]) -> dict[LaneId, tuple[int, int]]:
    """Merge spans of the same lane into one that covers them."""
    joined: dict[LaneId, tuple[int, int]] = {}
    for each in spans:
        for lane, (low, high) in each.items():
            before = joined.get(lane, (low, high))
            joined[lane] = (min(low, before[0]), max(high, before[1]))
    return joined


def _sequence(value: Any) -> int:
    return parse_sequence_key(sequence_key(value))
