"""A fleet copies and projects everything at the cost of one write an event, and one that trusts its memory is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.fleet.append_fleet import AppendFleet
from chaos.fleet.copy_fleet import Copied, CopyFleet
from chaos.fleet.event_source_mapping import Load
from chaos.fleet.partitions import Partitions
from chaos.fleet.view_fleet import Projected, ViewFleet
from projectors.engine.folding import Wanted
from replicator.eventstore import appender
from replicator.fencing.roles import Role
from replicator.replication.lane_heads import Heads

HOT = Load(lanes=200, events=2000)
SPLIT = Load(lanes=50, events=2000, sandboxes=16, parallelization=2)
VIEWS = replace(HOT, in_turn=True)


def units(found: Copied | Projected) -> float:
    """Write units an event, once nothing is missing."""
    if isinstance(found, Copied):
        assert found.lost == 0
        return found.peer.write_units / found.events
    assert found.behind == 0
    return found.sink.write_units / found.events


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("load", [HOT, SPLIT, Load(lanes=2000, events=2000)], ids=["hot", "split", "many"])
def test_an_event_is_copied_with_one_write_whichever_sandboxes_get_its_lane(load: Load, seed: int) -> None:
    assert units(CopyFleet(replace(load, seed=seed)).run()) <= 1.05


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_view_is_written_once_whichever_sandboxes_get_its_stream(seed: int) -> None:
    assert units(ViewFleet(replace(VIEWS, seed=seed)).run()) <= 1.03


def test_a_view_is_read_at_half_the_price_before_it_is_written() -> None:
    found = ViewFleet(replace(VIEWS, lanes=2000)).run()
    assert units(found) <= 1.03
    assert found.sink.read_units / found.events <= 0.55


def test_checked_appends_find_another_stripe_when_theirs_is_busy() -> None:
    found = AppendFleet(appends=3000).run()
    assert found.failed == 0
    assert found.conflicts > 100, "thirty transactions are under way at any time"
    assert found.bill.write_units / found.events < 6.5, "half of these events are the first of their lanes"


def test_a_run_is_the_same_each_time() -> None:
    first, second = CopyFleet(SPLIT).run(), CopyFleet(SPLIT).run()
    assert first == second
    assert CopyFleet(replace(SPLIT, seed=2)).run() != first


def test_sandboxes_that_live_for_one_batch_copy_everything() -> None:
    found = CopyFleet(replace(HOT, life=1)).run()
    assert units(found) <= 1.05
    assert found.peer.read_units / found.events > 0.7, "each reads both ends of its lanes"


def test_after_an_outage_a_far_peer_gets_hundreds_of_lanes_a_second_and_each_event_once() -> None:
    found = CopyFleet(Load(lanes=4000, events=4000, in_turn=True), round_trip=0.2).catch_up()
    assert units(found) == 1.0
    assert found.events / found.seconds > 1000


@pytest.mark.parametrize(
    ("partitions", "index", "fresh"), [(1, 16, False), (16, 1, True)], ids=["a hot partition", "an index that is behind"]
)
def test_a_peer_that_is_throttled_gets_everything_in_the_end(partitions: int, index: int, fresh: bool) -> None:
    made: list[Partitions] = []

    def limits(now: Callable[[], float]) -> tuple[Partitions, Partitions]:
        made.extend(Partitions(now, count, burst=0.0) for count in (partitions, index))
        return made[0], made[1]

    load = Load(lanes=3000, events=4000, rate=9000.0, batch=1000, shards=16, sandboxes=16, in_turn=fresh)
    fleet = CopyFleet(load, limits=limits)
    if fresh:  # every lane begins at the peer
        fleet._at_peer._lanes.clear()
    found = fleet.run()
    assert found.lost == 0
    assert made[1 if fresh else 0].throttled > 300
    assert found.seconds > 2.0, "as fast as it may be"


# -- planted bugs ------------------------------------------------------------------------------------------------------


def test_a_stale_head_that_is_trusted_costs_many_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = Heads.meet
    monkeypatch.setattr(Heads, "meet", lambda self, lanes, **_: meet(self, lanes))
    assert units(CopyFleet(HOT, patience=0.0).run()) > 2


def test_without_a_wait_concurrent_batches_write_the_same_events() -> None:
    assert units(CopyFleet(SPLIT, patience=0.0).run()) > 1.2


def test_a_view_that_is_trusted_between_invocations_costs_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wanted, "follow", lambda self, seen: True)
    assert units(ViewFleet(VIEWS).run()) > 1.15


def test_few_stripes_under_one_key_fail_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in 0.2.0: eight items, whose partition takes 500 checks a second."""
    stripe = Role.guard
    monkeypatch.setattr(Role, "guard", lambda self, number: stripe(self, number % 8))
    assert AppendFleet(appends=3000).run().failed > 300


def test_a_write_that_insists_on_its_stripe_fails_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appender, "_GUARD_ATTEMPTS", 1)
    assert AppendFleet(appends=3000).run().failed > 100
