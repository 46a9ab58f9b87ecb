"""Comparing sinks: differing views are named, delay is told from damage, and the cost goes by the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import MemorySink, Projection, add, collection, counter
from projectors.engine.digests import FEW, Effort, Fingerprint, Range, Summary, Tree, differences, place
from projectors.engine.engine import Engine
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey
from projectors.versions.verify import Folded, Place, compare
from replicator import EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.vector import VersionVector
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData

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


def store_of(*regions: str, storage: MemoryStorage | None = None) -> EventStore:
    clock = HybridLogicalClock(lambda: 1_763_914_981_123)
    return EventStore(storage or MemoryStorage(), regions[0], regions, clock)


def test_views_are_held_against_the_events_they_are_made_of() -> None:
    store = store_of("us-east-1")
    events = [event for n in range(700) for event in store.append(f"user/{n % 350}", NewEvent("visited", {}))]
    store.append("plane/N1", NewEvent("visited", {}))
    sink = MemorySink()
    Engine([Visits], store, sink).apply(events)
    again = Folded(Visits, store)
    assert again.failures == []
    assert compare("visits", 1, Place("sink", sink), Place("events", again.sink, again)).equal
    (stored,) = sink.load([ViewKey("visits", "user/7")]).values()
    sink.save([Change(stored.vector, replace(stored, value_text='{"n":3}'))])
    verdict = compare("visits", 1, Place("sink", sink), Place("events", again.sink, again), settle=1, sleep=lambda _: None)
    assert [each.key.key for each in verdict.damaged] == ["user/7"]


def test_what_is_written_while_events_are_folded_is_folded_anew() -> None:
    store, sink = store_of("us-east-1"), MemorySink()
    engine = Engine([Visits], store, sink)
    engine.apply(store.append("user/homer", NewEvent("visited", {})))
    folded = Folded(Visits, store)
    for name in ("homer", "lisa"):
        engine.apply(store.append(f"user/{name}", NewEvent("visited", {})))
    here, events = Place("sink", sink), Place("events", folded.sink, folded)
    assert [each.key.key for each in compare("visits", 1, here, events).differing] == ["user/homer", "user/lisa"]
    pauses: list[float] = []

    def on_the_way(seconds: float) -> None:
        """A third visit, which the projector has not seen at the first look."""
        pauses.append(seconds)
        if len(pauses) == 1:
            store.append("user/homer", NewEvent("visited", {}))
        elif len(pauses) == 2:
            engine.catch_up(dict(store.lanes()))

    assert compare("visits", 1, here, events, settle=5, sleep=on_the_way).equal
    assert len(pauses) == 2


class Stays(Visits):
    """As Visits, of people whose names are personal."""

    name = "stays"
    names = collection(visited=lambda p: add(p["name"]))


def test_views_that_wait_for_keys_cannot_be_judged_and_all_others_are(tmp_path: Path) -> None:
    east, west, wrapping = MemoryKeys(), MemoryKeys(), LocalWrapping(str(tmp_path / "key"))
    storage = MemoryStorage()
    here, there = store_of("us-east-1", "eu-west-1", storage=storage), store_of("eu-west-1", "us-east-1", storage=storage)
    all_keys = {"us-east-1": east, "eu-west-1": west}
    payload = PersonalData("eu-west-1", all_keys, wrapping).protect("user/homer", {"name": "Homer"}, ["name"])
    there.append("user/homer", NewEvent("visited", payload))
    for n in range(5):
        here.append(f"user/{n}", NewEvent("visited", {"name": "x"}))
    sink = MemorySink()
    everything = PersonalData("us-east-1", all_keys, wrapping)
    Engine([Stays], here, sink, everything).catch_up(dict(here.lanes()))
    cut_off = PersonalData("us-east-1", {"us-east-1": MemoryKeys(), "eu-west-1": Down()}, wrapping)
    folded = Folded(Stays, here, cut_off)
    (damaged,) = sink.load([ViewKey("stays", "user/3")]).values()
    sink.save([Change(damaged.vector, replace(damaged, value_text='{"n":9}'))])
    verdict = compare(
        "stays", 1, Place("sink", sink), Place("events", folded.sink, folded), settle=1, sleep=lambda _: None
    )  # fmt: skip
    assert [each.key.key for each in verdict.unjudged] == ["user/homer"]
    assert [each.key.key for each in verdict.differing] == ["user/3"]
    assert not verdict.equal


class Down:
    """Keys of a region that does not answer."""

    def __getattr__(self, name: str) -> Any:
        def fails(*_: Any, **__: Any) -> Any:
            raise RegionUnavailable("eu-west-1 does not answer")

        return fails


class Checked(MemorySink):
    """Checks digests as the real ones do: a view whose value is "evil" is not what its digest says."""

    def load(self, keys: Any) -> Any:
        found = super().load(keys)
        for each in found.values():
            if "evil" in each.value_text:
                raise DamagedEvent(f"view {each.key} does not match its digest; rebuild it from the events")
        return found


@pytest.mark.parametrize("both", [False, True])
def test_one_view_that_cannot_be_read_does_not_end_a_comparison(both: bool) -> None:
    left, right = Checked(), Checked()
    evil = view(1, 2, value='{"a":"evil"}')
    left.save([Change(None, each) for each in (evil, view(2, 2), view(3))])
    right.save(
        [Change(None, each) for each in (replace(evil, vector=view(1).vector) if both else view(1), view(2), view(3))]
    )

    def arrives(seconds: float) -> None:
        right.save([Change(view(2).vector, view(2, 2))])

    verdict = compare("account", 1, Place("here", left), Place("there", right), settle=2, sleep=arrives)
    assert [(each.key.key, each.damaged) for each in verdict.differing] == [("user/1", True)]


def test_nothing_on_both_sides_is_no_proof() -> None:
    nothing = compare("acount", 1, Place("here", MemorySink()), Place("there", MemorySink()))
    assert nothing.empty
    one = compare("account", 1, Place("here", MemorySink()), Place("there", sink_of([view(1)])))
    assert (one.empty, one.equal) == (False, False)


def test_every_view_is_read_where_that_is_asked_for() -> None:
    class Ranged(MemorySink):
        asked: ClassVar[list[dict[str, bool]]] = []

        def summary(self, projection: str, version: int = 1, **options: bool) -> Summary:
            self.asked.append(options)
            return super().summary(projection, version)

    for thorough in (False, True):
        compare("account", 1, Place("here", Ranged()), Place("there", Ranged()), thorough=thorough)
    assert Ranged.asked == [{}, {}, {"thorough": True}, {"thorough": True}]
