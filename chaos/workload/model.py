"""Workload model of scenarios and of the simulator: things, which every region changes at will.

A thing has a count that is added to, members that join and leave, and a name that is given to it. Every change has a unique
`id`, so the final events can be matched to changes. Claims are streams of their own: the holder of a seat.
"""

from __future__ import annotations

from projectors import Projection, add, collection, counter, register, remove
from replicator.domain.event import NewEvent

PROJECTION = "chaos.workload.model:Thing"
TYPE = "thing"
SEAT = "seat"
"""Type of the streams that are claimed."""


class Thing(Projection):
    """Projection of a thing's count, members and name."""

    name, stream_type = "thing", TYPE
    count = counter(added=lambda p: p["n"])
    members = collection(joined=lambda p: add(p["who"]), left=lambda p: remove(p["who"]))
    called = register(named=lambda p: p["to"])


def added(id: str, n: int) -> NewEvent:
    return NewEvent("added", {"id": id, "n": n})


def joined(id: str, who: str) -> NewEvent:
    return NewEvent("joined", {"id": id, "who": who})


def left(id: str, who: str) -> NewEvent:
    return NewEvent("left", {"id": id, "who": who})


def named(id: str, to: str) -> NewEvent:
    return NewEvent("named", {"id": id, "to": to})
