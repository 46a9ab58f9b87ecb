"""What clients of scenarios and of the simulator write: things, which every region changes at will.

A thing has a count that is added to, members that join and leave, and a name that is given to it. Every change has an `id`
that no other change has, so what is found in the end can be told apart. Claims are streams of their own: who holds a seat.
"""

from __future__ import annotations

from projectors import Projection, add, collection, counter, register, remove
from replicator.domain.event import NewEvent

PROJECTION = "chaos.workload.model:Thing"
TYPE = "thing"
SEAT = "seat"
"""The type of the streams that are claimed."""


class Thing(Projection):
    """A thing's count, members and name."""

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
