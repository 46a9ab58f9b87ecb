"""A peer whose table was replaced while nobody looked is given all lanes again, whatever this region remembers."""

from __future__ import annotations

import pytest

from replicator.control import Backlog, MemoryControl, Quarantine
from replicator.errors import RegionUnavailable
from replicator.link import Link
from replicator.peers import PeerTables
from tests.replicator.memories import EAST, WEST, Memories, load


def test_a_peer_that_is_seen_for_the_first_time_is_not_replaced_and_is_kept() -> None:
    control = MemoryControl()
    assert not PeerTables(control).replaced(WEST, "one")
    again = PeerTables(control)  # another process
    assert not again.replaced(WEST, "one")
    assert again.replaced(WEST, "two")
    assert again.replaced(WEST, "two")  # until it has been dealt with
    again.keep(WEST, "two")
    assert not PeerTables(control).replaced(WEST, "two")


class Bench:
    """East's link to West, over tables in memory, at a time that only this moves."""

    def __init__(self) -> None:
        self.memories = Memories()
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        control, tables = self.memories.controls[EAST], self.memories.tables
        backlog, quarantine = Backlog(control, f"{EAST}>{WEST}"), Quarantine(control, f"{EAST}>{WEST}")
        self.link = Link(
            EAST, WEST, tables[EAST], tables[WEST], backlog, quarantine, PeerTables(control), monotonic=lambda: self.now
        )

    def run(self) -> None:
        """Half a minute and more."""
        for _ in range(8):
            self.now += 10.0
            self.link.turn()

    def empty(self) -> None:
        """West's table is another one, under the same name."""
        table = self.memories.tables[WEST]
        table._lanes.clear()
        table._identity = "another"

    def lacks(self) -> int:
        """How many of East's events West does not hold."""
        holds = self.memories.holdings()
        return sum(id.startswith(f"{EAST}#") for id in holds[EAST].keys() - holds[WEST].keys())


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    load(bench.memories, streams=3, events=4)
    bench.memories.copy_all()
    bench.run()
    assert bench.lacks() == 0
    return bench


@pytest.mark.parametrize("restarted", [False, True])
def test_a_peer_that_was_emptied_gets_lanes_in_which_nothing_happens(bench: Bench, restarted: bool) -> None:
    bench.empty()
    assert bench.lacks() > 0
    if restarted:
        bench.restart()
    bench.run()
    assert bench.lacks() == 0


def test_killed_before_all_lanes_were_on_their_way_it_begins_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.empty()

    def down(*_: object) -> None:
        raise RegionUnavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr(Link, "defer_lanes", down)
        bench.run()
    bench.restart()
    bench.run()
    assert bench.lacks() == 0


def test_a_peer_that_does_not_answer_is_not_replaced(bench: Bench) -> None:
    bench.memories.down(WEST)
    bench.restart()
    bench.run()
    assert list(bench.memories.controls[EAST].get_all(f"backlog#{EAST}>{WEST}")) == []
