"""A month's bill of a system of three regions, item by item."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from benchmarks.cost import prices
from benchmarks.cost.prices import SECONDS
from benchmarks.cost.usage import MEMORY_GB, REGIONS, Size, stored_bytes, use

_UTILIZATION = 0.7
"""Share of the provisioned capacity that is used: the target of the autoscaling. A steady load is assumed."""
_METRICS, _ALARMS, _COMPOSITES, _QUEUES = 17, 37, 5, 4
_BEATS = 60 * prices.HOURS
"""Heartbeats of a region a month. Each calls the heartbeat's function, and every region's replicator and projector."""
_BEAT_SECONDS = 0.05
_POLLS = 15 * 60 * prices.HOURS
"""Long polls of an idle queue a month: five pollers, each every 20 seconds."""
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings that matter for the bill, with the defaults of the Terraform module."""

    window: float = 0.0
    parallelization: int = 1
    provisioned: bool = False
    infrequent: bool = False
    bus: bool = False
    views_backup: bool = False
    checked: bool = False
    views: bool = True


DEFAULTS = Setup()
DOCUMENTED = Setup(window=1.0, provisioned=True)
"""Setting that the page recommends for a steady load."""


@dataclass(frozen=True, slots=True)
class Item:
    """Line of the bill: what, and the dollars a month."""

    name: str
    dollars: float


def bill(size: Size, setup: Setup = DEFAULTS) -> list[Item]:
    """Return the bill of a month, without storage."""
    events = size.rate * SECONDS
    used, copies = use(size, setup.window, setup.parallelization), REGIONS - 1
    projected = REGIONS * events if setup.views else 0.0
    appended = 4.0 if setup.checked else 1.0
    log_bytes = events * used.copy_log_bytes + projected * used.view_log_bytes
    invocations = events * used.copy_invocations + projected * used.view_invocations
    seconds = events * used.copy_seconds + projected * used.view_seconds
    of_views = replace(setup, infrequent=False)
    found = [
        Item("appends: writes", _writes(events * appended, setup)),
        Item("appends: the head of the lane, as the process does not know it", _reads(events, setup)),
        Item("copies to two peers: writes", _writes(copies * events * used.copy_writes, setup)),
        Item("copies: reads at the peers", _reads(copies * events * used.copy_reads, setup)),
        Item("copies: transfer between regions", prices.TRANSFER.of(copies * events * used.copy_bytes / _GB)),
        Item("views in three regions: writes", _writes(projected * used.view_writes, of_views)),
        Item("views: reads", _reads(projected * used.view_reads, of_views)),
        Item("functions: invocations", prices.INVOCATION.of(invocations)),
        Item("functions: GB seconds", prices.GB_SECOND.of(seconds * MEMORY_GB)),
        Item("logs and metrics' lines", prices.LOG.of(log_bytes / _GB)),
        Item("metrics, alarms, dashboards, keys, idle queues, heartbeats", _fixed()),
    ]
    if setup.bus:
        found.append(Item("event buses", _bus(REGIONS * events)))
    if setup.views_backup:
        found.append(Item("backups of views, 1 KB each", REGIONS * prices.BACKUP.of(size.streams * 1024 / _GB)))
    return found


def total(items: Iterable[Item]) -> float:
    return sum(item.dollars for item in items)


def storage(size: Size, months: int, infrequent: bool = False) -> tuple[float, float]:
    """Return the dollars of the month after so many: of stored events, and of their backups, in three regions."""
    gigabytes = REGIONS * months * size.rate * SECONDS * stored_bytes() / _GB
    return (prices.STORED_IA if infrequent else prices.STORED).of(gigabytes), prices.BACKUP.of(gigabytes)


def global_tables(size: Size) -> list[Item]:
    """Return the bill of a month for the same events as items of a global table in three regions: no views, no functions."""
    events = size.rate * SECONDS
    copies = (REGIONS - 1) * events * stored_bytes() / _GB
    return [
        Item("replicated writes in three regions", prices.REPLICATED_WRITE.of(REGIONS * events)),
        Item("transfer between regions", prices.TRANSFER.of(copies)),
    ]


def _writes(units: float, setup: Setup) -> float:
    if setup.provisioned:
        return prices.WRITE_HOUR.of(units / SECONDS / _UTILIZATION * prices.HOURS)
    return (prices.WRITE_IA if setup.infrequent else prices.WRITE).of(units)


def _reads(units: float, setup: Setup) -> float:
    if setup.provisioned:
        return prices.READ_HOUR.of(units / SECONDS / _UTILIZATION * prices.HOURS)
    return (prices.READ_IA if setup.infrequent else prices.READ).of(units)


def _fixed() -> float:
    region = (
        prices.METRIC.of(_METRICS) + prices.ALARM.of(_ALARMS) + prices.DASHBOARD.of(1) + prices.KEY.of(1)
        + prices.MESSAGE.of(_QUEUES * _POLLS) + prices.COMPOSITE.of(_COMPOSITES)
    )  # fmt: skip
    calls = _BEATS * (1 + 2 * REGIONS)
    beats = (
        prices.WRITE.of(_BEATS * REGIONS)
        + prices.INVOCATION.of(calls)
        + prices.GB_SECOND.of(calls * _BEAT_SECONDS * MEMORY_GB)
    )
    return REGIONS * (region + beats)


def _bus(records: float) -> float:
    hours = prices.STREAM_HOUR.of(REGIONS * prices.HOURS)
    return hours + prices.CHANGE.of(records) + prices.STREAM_IN.of(records * 1024 / _GB)
