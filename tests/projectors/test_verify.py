"""Comparing sinks: differing views are named, delay is told from damage, and the cost goes by the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import MemorySink, Projection, counter
from projectors.engine import Engine
from projectors.sinks.port import Change
from projectors.summary import FEW, Effort, Fingerprint, Range, Tree, differences, place
from projectors.verify import Place, compare, fold_again
from projectors.view import View, ViewKey
from replicator import EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.domain.vector import VersionVector

SMALL = st.integers(0, 60)


def view(n: int, sequence: int = 1, value: str = "{}", row: str = "") -> View:
    return View("account", 1, f"user/{n}", VersionVector({"us-east-1": sequence}), "{}", value, row)


def sink_of(views: Sequence[View]) -> MemorySink:
    sink = MemorySink()
    assert all(sink.save([Change(None, each) for each in views]))
    return sink


@trials(max_examples=150)
@given(st.sets(SMALL), st.sets(SMALL), st.sets(SMALL), st.sets(SMALL), st.integers(1, 400))
def test_exactly_the_views_that_are_not_alike_are_named(
    missing: set[int], extra: set[int], late: set[int], damaged: set[int], size: int
) -> None:
    left = {n: view(n) for n in range(size)}
    right = {n: each for n, each in left.items() if n not in missing}
    right |= {size + n: view(size + n) for n in extra}
    right |= {n: view(n, 2) for n in late if n in right}
    right |= {n: replace(right[n], value_text='{"a":1}') for n in damaged if n in right}
    found = list(differences(Tree.of(left.values()), Tree.of(right.values())))
    assert {each.key for each in found} == {
        view(n).id for n in {*left, *right} if left.get(n) != right.get(n)
    }  # fmt: skip
    for each in found:
        n = int(each.key.key.partition("/")[2])
        same_vector = n in left and n in right and left[n].vector == right[n].vector
        assert each.damaged == same_vector


def test_the_cost_goes_by_the_differences_and_not_by_the_views() -> None:
    looked = {}
    for size in (1_000, 20_000):
        left = [view(n) for n in range(size)]
        right = [each if n not in (7, 500, 900) else view(n, 2) for n, each in enumerate(left)]
        effort = Effort()
        assert len(list(differences(Tree.of(left), Tree.of(right), effort))) == 3
        looked[size] = (effort.ranges, effort.rows)
        assert effort.views == size
    assert looked[20_000][0] <= looked[1_000][0] + 2 * 3
    assert looked[20_000][1] <= 3 * FEW
    same, effort = Tree.of(left), Effort()
    assert list(differences(same, Tree.of(left), effort)) == []
    assert (effort.ranges, effort.rows) == (1, 0)


def test_a_tree_says_what_lies_in_each_range() -> None:
    views = [view(n, row="r" if n % 2 else "") for n in range(300)]
    tree = Tree.of(views)
    for prefix in ("", "a", "ab", "abc"):
        below = {each.id: each for each in views if place(each.key, each.row).startswith(prefix)}
        assert tree.rows(prefix) == {key: Fingerprint(each.vector, each.digest) for key, each in below.items()}
        total = Range(0, bytes(32))
        for each in tree.ranges(prefix).values():
            total = total.plus(each)
        assert total.views == len(below)


def test_what_is_on_its_way_is_waited_for_and_damage_is_not_excused() -> None:
    left, right = sink_of([view(1, 2), view(2), view(3)]), sink_of([view(1), view(2, value='{"a":1}'), view(3)])

    def arrives(seconds: float) -> None:
        right.save([Change(view(1).vector, view(1, 2))])

    here, there = Place("here", left), Place("there", right)
    at_once = compare("account", 1, here, there)
    assert [(each.key.key, each.damaged) for each in sorted(at_once.differing, key=lambda d: d.key)] == [
        ("user/1", False),
        ("user/2", True),
    ]
    settled = compare("account", 1, here, there, settle=2.0, sleep=arrives)
    assert [each.key for each in settled.damaged] == [ViewKey("account", "user/2")]
    assert settled.differing == settled.damaged
    assert not settled.equal


class Visits(Projection):
    name = "visits"
    stream_type = "user"
    n = counter(visited=lambda p: 1)


def test_views_are_held_against_the_events_they_are_made_of() -> None:
    store = EventStore(MemoryStorage(), "us-east-1", ["us-east-1"], HybridLogicalClock(lambda: 1_763_914_981_123))
    events = [event for n in range(700) for event in store.append(f"user/{n % 350}", NewEvent("visited", {}))]
    store.append("plane/N1", NewEvent("visited", {}))
    sink = MemorySink()
    Engine([Visits], store, sink).apply(events)
    again, failures = fold_again(Visits, store)
    assert failures == []
    assert compare("visits", 1, Place("sink", sink), Place("events", again)).equal
    (stored,) = sink.load([ViewKey("visits", "user/7")]).values()
    sink.save([Change(stored.vector, replace(stored, value_text='{"n":3}'))])
    verdict = compare("visits", 1, Place("sink", sink), Place("events", again))
    assert [each.key.key for each in verdict.damaged] == ["user/7"]
