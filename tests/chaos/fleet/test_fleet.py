"""A fleet copies everything at the cost of one write an event, and one that trusts its memory is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.fleet.sandboxes import Fleet, Load, Outcome
from replicator.replication.lane_heads import Heads

HOT = Load(lanes=200, events=2000)
SPLIT = Load(lanes=50, events=2000, sandboxes=16, parallelization=2)


def units(found: Outcome) -> float:
    assert found.lost == 0
    return found.peer.write_units / found.load.events


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("load", [HOT, SPLIT, Load(lanes=2000, events=2000)], ids=["hot", "split", "many"])
def test_an_event_is_copied_with_one_write_whichever_sandboxes_get_its_lane(load: Load, seed: int) -> None:
    assert units(Fleet(replace(load, seed=seed)).run()) <= 1.05


def test_a_run_is_the_same_each_time() -> None:
    first, second = Fleet(SPLIT).run(), Fleet(SPLIT).run()
    assert (first.peer, first.home, first.seconds) == (second.peer, second.home, second.seconds)
    assert Fleet(replace(SPLIT, seed=2)).run().peer != first.peer


def test_sandboxes_that_live_for_one_batch_copy_everything() -> None:
    found = Fleet(replace(HOT, life=1)).run()
    assert units(found) <= 1.05
    assert found.peer.read_units / found.load.events > 0.7, "each reads both ends of its lanes"


# -- planted bugs ------------------------------------------------------------------------------------------------------


def test_a_stale_head_that_is_trusted_costs_many_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = Heads.meet
    monkeypatch.setattr(
        Heads, "meet", lambda self, lanes: meet(self, {lane: lanes[lane] for lane in lanes if not self.of(lane).sequence})
    )
    assert units(Fleet(replace(HOT, patience=0.0)).run()) > 2


def test_without_a_wait_concurrent_batches_write_the_same_events() -> None:
    assert units(Fleet(replace(SPLIT, patience=0.0)).run()) > 1.3
