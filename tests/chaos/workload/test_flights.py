"""The data set becomes reports; folding them gives what pandas computes from the CSV by its own road."""

from __future__ import annotations

import pytest

from chaos.workload.flights import Aircraft, data_file, desks, select
from chaos.workload.truth import differing, expected_views
from projectors import Engine, MemorySink
from replicator import EventStore, InvalidConfig, MemoryStorage, Observed
from replicator.domain.event import Event


def test_a_seed_chooses_the_same_flights_every_time_and_enough_of_them() -> None:
    one, again, other = select(500, 7), select(500, 7), select(500, 8)
    assert one == again
    assert one.first != other.first
    assert 500 <= len(one.reports) <= 502
    assert len({report.id for report in one.reports}) == len(one.reports)


def test_every_report_has_exactly_one_desk_whatever_the_number_of_regions() -> None:
    reports = select(2000, 1).reports
    for count in (1, 2, 3, 4, 6):
        regions = [f"us-east-{n}" for n in range(1, count + 1)]
        shared = [r for airports in desks(regions, reports).values() for found in airports.values() for r in found]
        assert sorted(r.id for r in shared) == sorted(r.id for r in reports)
        assert all(desks(regions, reports)[region] for region in regions)


@pytest.mark.parametrize("events", [0, -1, 10**7])
def test_an_impossible_number_of_events_is_refused_with_its_value(events: int) -> None:
    with pytest.raises(InvalidConfig, match=str(events)):
        select(events, 1)


def test_views_folded_from_three_regions_equal_pandas() -> None:
    selection = select(6000, 11)
    regions = ["us-east-1", "eu-west-1", "ap-southeast-2"]
    storage, told = MemoryStorage(), list[tuple[str, str, str, int, str]]()
    everything: list[Event] = []
    for region, airports in desks(regions, selection.reports).items():
        store = EventStore(storage, region, regions)
        seen: dict[str, Observed] = {}
        for report in (report for reports in airports.values() for report in reports):
            key = str(report.stream)
            events = store.append(report.stream, report.event, observed=seen.get(key))
            seen[key] = seen.get(key, Observed()).join(Observed.of(events))
            told += [(e.stream.id, str(e.hlc), e.region, e.sequence, e.payload["flight"]) for e in events]
            everything += events
    sink = MemorySink()
    engine = Engine([Aircraft], EventStore(storage, "us-east-1", regions), sink)
    assert engine.apply(everything[::-1]) == []
    truth = expected_views(data_file(), selection.first, selection.last, told)
    assert {view.key.partition("/")[2]: view.value for view in sink.views("aircraft")} == truth
    assert sum(view["flights"] for view in truth.values()) > 2000


@pytest.mark.parametrize(
    ("views", "data", "named"),
    [
        ({"N1": 1}, {"N1": 1}, []),
        ({"N1": 1}, {"N1": 2}, ["N1"]),
        ({"N1": 1, "N2": 1}, {"N1": 1}, ["N2"]),
        ({"N1": 1}, {"N1": 1, "N2": 1}, ["N2"]),
        ({}, {"N1": 1}, ["N1"]),
        ({"N1": 1}, {}, ["N1"]),
    ],
    ids=str,
)
def test_views_and_the_data_set_are_compared_both_ways(
    views: dict[str, int], data: dict[str, int], named: list[str]
) -> None:
    assert [line.split()[0] for line in differing(views, data)] == named
