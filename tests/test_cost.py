"""The page about costs is what its command makes, and its bill is the sum of units and prices."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cost import month, page, prices
from benchmarks.cost.month import DEFAULTS, DOCUMENTED, bill, global_tables, storage, total
from benchmarks.cost.page import SIZES
from benchmarks.cost.usage import Size, Use, stored_bytes

PAGE = (Path(__file__).parents[1] / "docs" / "cost.md").read_text()
USE = Use(1.0, 0.5, 1_000.0, 0.1, 0.01, 100.0, 1.0, 0.5, 0.2, 0.002, 50.0)


def test_the_smallest_system_is_on_the_page_as_it_is_measured_now() -> None:
    """The others take half a minute: `python -m benchmarks.cost --write docs/cost.md`."""
    (table,) = re.findall(r"\n(\|  \| small, defaults .*?)\n\n", PAGE, re.DOTALL)
    shown = [[cell.strip(" *") for cell in line.split("|")[1:4]] for line in table.splitlines()[2:-1]]
    bills = [bill(SIZES[0], setup) for setup in (DEFAULTS, DOCUMENTED)]
    wanted = [
        [one.name, page._dollars(one.dollars), page._dollars(other.dollars)] for one, other in zip(*bills, strict=True)
    ]
    assert shown == [*wanted, ["together", *(page._dollars(total(items)) for items in bills)]]


def test_prices_and_storage_are_on_the_page() -> None:
    for price in prices.ALL:
        assert f"| {f'{price.dollars:.10f}'.rstrip('0').rstrip('.')} | {price.unit} |" in PAGE
    assert f"takes {stored_bytes()} bytes" in PAGE.replace("\n", " ")
    for size in SIZES[:3]:
        assert f"| {size.name} | {page._dollars(sum(storage(size, 1)))} (" in PAGE


def test_a_bill_is_units_times_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(month, "use", lambda size, window, parallelization: USE)
    size = Size("a million a month", 1e6 / prices.SECONDS, 1_000)
    found = {item.name.partition(":")[0] + item.name.partition(":")[2][:8]: item.dollars for item in bill(size)}
    assert found == pytest.approx(
        {
            "appends writes": 0.625,
            "appends the hea": 0.125,
            "copies to two peers writes": 2 * 0.625,
            "copies reads a": 2 * 0.5 * 0.125,
            "copies transfe": 2 * 1_000 / 1_000 * 0.02,
            "views in three regions writes": 3 * 0.625,
            "views reads": 3 * 0.5 * 0.125,
            "functions invocat": (0.1 + 3 * 0.2) * 0.20,
            "functions GB seco": (0.01 + 3 * 0.002) * 0.5 * 13.3334,
            "logs and metrics' lines": (100 + 3 * 50) / 1_000 * 0.50,
            "metrics, alarms, dashboards, keys, idle queues, heartbeats": month._fixed(),
        }
    )
    provisioned = bill(size, replace(DEFAULTS, provisioned=True))
    assert provisioned[0].dollars == pytest.approx(1e6 / prices.SECONDS / 0.7 * 730 * 0.00065)
    assert bill(size, replace(DEFAULTS, checked=True))[0].dollars == pytest.approx(4 * 0.625)
    more = {
        setup: total(bill(size, setup)) - total(bill(size))
        for setup in (replace(DEFAULTS, bus=True), replace(DEFAULTS, views_backup=True), replace(DEFAULTS, views=False))
    }
    gigabytes = 3e6 * 1024 / 1e9
    assert list(more.values()) == pytest.approx(
        [
            3 * 730 * 0.04 + 3 * 0.10 + gigabytes * 0.08,
            3 * 1_000 * 1024 / 1e9 * 0.20,
            -(3 * 0.625 + 3 * 0.5 * 0.125 + 3 * 0.2 * 0.20 + 3 * 0.002 * 0.5 * 13.3334 + 3 * 50 / 1_000 * 0.50),
        ]
    )
    assert total(global_tables(size)) == pytest.approx(3 * 0.625 + 2 * stored_bytes() / 1_000 * 0.02)
    kept = 3 * 12e6 * stored_bytes() / 1e9
    assert storage(size, 12) == pytest.approx((kept * 0.25, kept * 0.20))
    assert storage(size, 12, infrequent=True) == pytest.approx((kept * 0.10, kept * 0.20))
