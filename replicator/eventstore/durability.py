"""Durability of a write: how many regions hold it when an append returns. The writer hands its events over to peers itself,
at once; the table's stream goes on as the guarantee. docs/decisions/0042."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, Self

from replicator.domain.errors import InvalidOperation
from replicator.domain.event import Event
from replicator.domain.names import StreamId

WITHIN_SECONDS = 1.0
EVERY_TYPE = "*"


class Appended(tuple[Event, ...]):
    """Events as stored, with the `regions` that are known to hold all of them, this one first. Others may hold them, too."""

    regions: tuple[str, ...]

    def __new__(cls, events: Iterable[Event], regions: Iterable[str]) -> Self:
        made = super().__new__(cls, events)
        made.regions = tuple(regions)
        return made


class Handover(Protocol):
    """Port that copies a writer's own events to peers (replicator/replication/handover.py). Safe to share between
    threads."""

    def prepare(self) -> None:
        """Get ready for a `hand_over` that follows soon. Returns at once."""

    def hand_over(self, events: Sequence[Event], copies: int, within: float) -> Collection[str]:
        """Make so many peers hold these events and all before them in their lanes. Returns the peers that hold them for
        certain: fewer if it takes longer than `within` seconds. Raises nothing for a peer that fails."""


def _no_peer() -> Handover:
    raise InvalidOperation("this store has no way to its peers; use connect_store, or give AppendPolicy(durability=…)")


@dataclass(frozen=True)
class Durability:
    """Number of regions that a write waits for. `peers` are the regions besides `region` that run; `policy` maps a stream
    type ("*": every other one) to its default; `make` returns the handover, and is called when it is first needed."""

    region: str
    peers: Sequence[str] = ()
    make: Callable[[], Handover] = _no_peer
    policy: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _handover(self) -> Handover:
        return self.make()

    def begin(self, streams: Collection[StreamId], copies: int | None, within: float) -> int:
        """Return the number of regions, this one included, that a write to these streams waits for, and get ready for it.
        Raises InvalidOperation."""
        if copies is None and not self.policy:
            return 1
        if copies is None:
            wanted = max((self.policy.get(each.type, self.policy.get(EVERY_TYPE, 1)) for each in streams), default=1)
        else:
            wanted = self._checked(copies)
        if wanted > 1:
            if not (isinstance(within, int | float) and 0 < within < math.inf):
                raise InvalidOperation(f"within is {within!r}; give seconds above 0")
            self._handover.prepare()
        return wanted

    def _checked(self, copies: int) -> int:
        most = 1 + len(self.peers)
        if copies.__class__ is not int or not 1 <= copies <= most:
            raise InvalidOperation(
                f"copies is {copies!r}; give a whole number from 1 to {most}, the number of regions that this store reaches"
            )
        return copies

    def spread(self, events: Sequence[Event], copies: int, within: float) -> Appended:
        """Hand events over that are stored here, until `copies` regions hold them, for at most `within` seconds."""
        held = self._handover.hand_over(events, copies - 1, within) if copies > 1 and events else ()
        return Appended(events, (self.region, *sorted(held)))
