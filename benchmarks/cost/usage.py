"""Usage of one event as the fleet meters it: Meridian's link, copier and engine in sandboxes, in simulated time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from chaos.fleet.copy_fleet import CopyFleet
from chaos.fleet.event_source_mapping import Load, begun
from chaos.fleet.view_fleet import ViewFleet
from replicator.domain.event import size_of

REGIONS = 3
MEMORY_GB = 0.5
_ROUND_TRIP = 0.08
_OVERHEAD_SECONDS, _EVENT_SECONDS = 0.01, 0.0003
"""Processor time of an invocation and of an event at 512 MB, 0.29 of a core: three times what benchmarks measure on one."""
_BATCH, _SHARDS = 500, 4
_LINE_BYTES = 26
"""Bytes that CloudWatch bills for a line, besides its text ("Amazon CloudWatch Logs quotas")."""
_ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
_PLATFORM = (
    f"START RequestId: {_ID} Version: $LATEST\n",
    f"END RequestId: {_ID}\n",
    f"REPORT RequestId: {_ID}\tDuration: 123.45 ms\tBilled Duration: 124 ms\tMemory Size: 512 MB\tMax Memory Used: 98 MB\n",
)
"""Lines of Lambda itself ("Sending Lambda function logs to CloudWatch Logs")."""
_ITEM_BYTES = 100
"""Bytes that DynamoDB adds to an item ("DynamoDB item sizes and formats")."""


@dataclass(frozen=True, slots=True)
class Size:
    """Load of a system: events a second, of all regions together, in so many streams."""

    name: str
    rate: float
    streams: int

    @property
    def events(self) -> int:
        """Number of events of a run: at least a quarter of a minute's."""
        return 12_000 if self.rate > 100 else 3_000 if self.rate > 10 else 600


@dataclass(frozen=True, slots=True)
class Use:
    """Usage of an event: of a copy at a peer, and of the functions and views of a region, each per event that it gets."""

    copy_writes: float
    copy_reads: float
    copy_bytes: float
    copy_invocations: float
    copy_seconds: float
    copy_log_bytes: float
    view_writes: float
    view_reads: float
    view_invocations: float
    view_seconds: float
    view_log_bytes: float


@cache
def use(size: Size, window: float, parallelization: int = 1) -> Use:
    """Measure what an event of this load uses."""
    load = Load(
        size.streams, size.events, sandboxes=2 * _SHARDS * parallelization, shards=_SHARDS, batch=_BATCH,
        parallelization=parallelization, rate=size.rate, window=window, overhead=_OVERHEAD_SECONDS, processor=_EVENT_SECONDS,
    )  # fmt: skip
    own = replace(load, rate=size.rate / REGIONS)
    copied, projected = CopyFleet(own, _ROUND_TRIP).run(), ViewFleet(load).run()
    assert not copied.lost, f"{copied.lost} events are missing"
    assert not projected.behind, f"{projected.behind} views are behind"
    platform = sum(len(line) + _LINE_BYTES for line in _PLATFORM)
    links = REGIONS - 1
    return Use(
        copied.peer.write_units / copied.events,
        copied.peer.read_units / copied.events,
        copied.peer.body_bytes / copied.events,
        copied.invocations / copied.events,
        copied.busy / copied.events,
        (copied.invocations * platform + links * copied.log_bytes) / copied.events,
        projected.sink.write_units / projected.events,
        projected.sink.read_units / projected.events,
        projected.invocations / projected.events,
        projected.busy / projected.events,
        (projected.invocations * platform + projected.log_bytes) / projected.events,
    )


def stored_bytes() -> int:
    """Return the bytes of an event in a table."""
    return size_of(begun(1)[0]) + _ITEM_BYTES
