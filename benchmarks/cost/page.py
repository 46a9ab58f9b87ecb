"""Text of docs/cost.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmarks.cost import prices
from benchmarks.cost.month import DEFAULTS, DOCUMENTED, Setup, bill, global_tables, storage, total
from benchmarks.cost.usage import Size, stored_bytes, use

SIZES = (Size("small", 1, 1_000), Size("medium", 50, 20_000), Size("large", 1_000, 20_000), Size("large, hot", 1_000, 200))
LARGE = SIZES[2]
_CHANGES: Sequence[tuple[str, str, Setup]] = (
    ("batches wait a second", "`mapping = { window_seconds = 1 }`", replace(DEFAULTS, window=1.0)),
    (
        "capacity provisioned, autoscaled at 70 %",
        '`tables = { events = { billing_mode = "PROVISIONED" … } … }`',
        replace(DEFAULTS, provisioned=True),
    ),
    ("both of these: the recommended settings for a steady load", "", DOCUMENTED),
    (
        "table class Standard-IA for events",
        '`tables = { events = { table_class = "STANDARD_INFREQUENT_ACCESS" } }`',
        replace(DEFAULTS, infrequent=True),
    ),
    ("event buses", "`bus = { enabled = true }`", replace(DEFAULTS, bus=True)),
    (
        "backups of views (of 20,000 of 1 KB)",
        "`tables = { views = { point_in_time_recovery = true } }`",
        replace(DEFAULTS, views_backup=True),
    ),
    ("two batches of a shard at once", "`mapping = { parallelization = 2 }`", replace(DEFAULTS, parallelization=2)),
    ("checked fences for all streams", '`fences = { checked = ["*"] }`', replace(DEFAULTS, checked=True)),
    ("no views", "no `projections`", replace(DEFAULTS, views=False)),
)
_MONTHS = (1, 4, 12, 36)

_HEAD = """# What it costs

`python -m benchmarks.cost --write docs/cost.md` makes this page. It runs Meridian's own link, copier and engine in
simulated sandboxes ([the fleet](performance.md#what-an-event-costs-on-lambda)) against tables that meter each request as
DynamoDB bills it, and multiplies what an event uses by the list prices of us-east-1, which are at the end. Dollars are a
month of 730 hours, for all three regions together, without free tiers, taxes and reserved capacity.

**Assumptions.** Every event is appended in one region, by a process that does not know the lane's head, and copied to two
peers 80 ms away. Each region keeps one view of every stream, of less than 1 KB. An event of the fleet takes {bytes} bytes in
a table; up to 1 KB the cost is the same. A payload of 1,000 bytes takes two units, as an event has fields of its own. A
function's processor time is modelled (10 ms an invocation, 0.3 ms an event, at 512 MB). Lambda is taken to ask a shard again
as soon as a batch is done, which makes for the most and the smallest batches. What your users read, and what your own
services cost, is not in it.
"""
_KINDS = """\

*Defaults* are those of the Terraform module: on-demand tables, batches that do not wait, no event bus. *Recommended*
for a steady load are provisioned capacity with autoscaling at 70 %, and batches that wait for a second (events reach
peers and views up to a second later). With one event a second, fixed costs are most of the bill.
"""
_KEPT = """\
## Storage and backups

Events are kept for good, in every region, with point-in-time recovery. So this part of the bill grows each month.
The table shows what that month costs for events and their backups, which are in brackets.
"""
_GLOBAL = """\
## Beside DynamoDB global tables

The same events as items of a global table in three regions (multi-Region eventual consistency), on demand, at the
same prices. A global table copies by itself; the last writer of an item wins. Neither side has views here.
"""
_PART = """\

Meridian's part in that is the reads of heads (by the appending process, and at the peers), the functions and their
logs, longer bodies between regions, and the fixed costs. A provisioned global table saves on writes as Meridian's
tables do. Storage and backups cost the same.
"""
_LEFT_OUT = """\
## Not in these tables

- **Events of more than 1 KB**: a unit for each KB begun, in each region.
- **The first event of a lane** takes one more unit in each region, for the index of lanes.
- **Long runs**: a lane that has more than four events in one batch is copied in transactions, at two units an
  event. An append of several events is a transaction, too.
- **External events**: at most 1 write and 1 read unit an event and region for positions, their stream (29 a region,
  and 0.08 a GB), 0.04 a GB out of the bus, a publisher like a projector. They need the bus.
- **Personal data**: one write unit a subject and region, 1 a month for each replica of the key, and 3.00 a million
  KMS calls, one a minute for each subject and process that works on it.
- **The API**: 0.20 a million requests and their time, and what they read and write.
- **Outages**: SQS carries pointers only (0.40 a million); what is caught up reads both sides once.
"""


def page(progress: Callable[[int, int], object] = lambda done, of: None) -> str:
    """Return the page. `progress` is called with the loads that were measured so far, and their number."""
    loads = [(size, setup) for size in SIZES for setup in (DEFAULTS, DOCUMENTED)]
    loads += [(LARGE, setup) for _, _, setup in _CHANGES]
    for done, (size, setup) in enumerate(loads):
        progress(done, len(loads))
        use(size, setup.window, setup.parallelization)
    return "\n".join([_HEAD.format(bytes=stored_bytes()), *_bills(), *_storage(), *_settings(), *_peers(), *_prices()])


def _bills() -> Iterable[str]:
    yield "## A month without storage\n"
    sizes = "; ".join(f"*{size.name}*: {size.rate:,.0f} a second in {size.streams:,} streams" for size in SIZES)
    yield f"Events: {sizes}.\n"
    yield _row("", *(f"{size.name}, {kind}" for size in SIZES for kind in ("defaults", "recommended")))
    yield _row("---", *["---:"] * 2 * len(SIZES))
    bills = [bill(size, setup) for size in SIZES for setup in (DEFAULTS, DOCUMENTED)]
    for items in zip(*bills, strict=True):
        yield _row(items[0].name, *(_dollars(item.dollars) for item in items))
    yield _row("**together**", *(f"**{_dollars(total(items))}**" for items in bills))
    yield _row("for a million events", *(
        _dollars(total(items) / (size.rate * prices.SECONDS / 1e6))
        for size, items in zip([size for size in SIZES for _ in range(2)], bills, strict=True)
    ))  # fmt: skip
    yield _KINDS


def _storage() -> Iterable[str]:
    yield _KEPT
    yield _row("", *(f"month {month}" for month in _MONTHS))
    yield _row("---", *["---:"] * len(_MONTHS))
    for size in SIZES[:3]:
        for name, infrequent in (("", False), (", events in Standard-IA", True)):
            costs = [storage(size, month, infrequent) for month in _MONTHS]
            yield _row(f"{size.name}{name}", *(f"{_dollars(sum(each))} ({_dollars(each[1])})" for each in costs))
    crossing = next(month for month in range(1, 1000) if sum(storage(LARGE, month)) > total(bill(LARGE, DOCUMENTED)))
    yield (
        f"\nAt 1,000 events a second, storage and backups exceed all else in the recommended setup from month {crossing}\n"
        "on.\n"
    )


def _settings() -> Iterable[str]:
    base = total(bill(LARGE, DEFAULTS))
    yield (
        "## What each setting changes\n\n"
        f"Against the defaults at 1,000 events a second ({_dollars(base)} a month without storage).\n"
    )
    yield _row("", "setting", "a month", "change")
    yield _row("---", "---", "---:", "---:")
    for name, setting, setup in _CHANGES:
        cost = total(bill(LARGE, setup))
        yield _row(name, setting, _dollars(cost), f"{cost - base:+,.0f}")
    monthly, rare = sum(storage(LARGE, 12)), sum(storage(LARGE, 12, infrequent=True))
    yield (
        f"\nStandard-IA makes writes of events a quarter dearer, and their storage 60 % cheaper: in month 12 it saves\n"
        f"{_dollars(monthly - rare)} of {_dollars(monthly)}.\n"
    )


def _peers() -> Iterable[str]:
    yield _GLOBAL
    yield _row("", *(f"{size.name}" for size in SIZES))
    yield _row("---", *["---:"] * len(SIZES))
    without = replace(DEFAULTS, views=False)
    yield _row("global table", *(_dollars(total(global_tables(size))) for size in SIZES))
    yield _row("Meridian, defaults", *(_dollars(total(bill(size, without))) for size in SIZES))
    yield _row("Meridian, recommended", *(_dollars(total(bill(size, replace(DOCUMENTED, views=False)))) for size in SIZES))
    yield _PART


def _prices() -> Iterable[str]:
    yield _LEFT_OUT
    yield "## Prices\n\nUS dollars, us-east-1, as of 2025. They change: look them up before you rely on a figure.\n"
    yield _row("dollars", "for each", "source")
    yield _row("---:", "---", "---")
    for price in prices.ALL:
        yield _row(f"{price.dollars:.10f}".rstrip("0").rstrip("."), price.unit, f"<{price.source}>")
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _dollars(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"
