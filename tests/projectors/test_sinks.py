"""The contract of every sink: a view's value and its version vector change together, over what was read, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from projectors import MemorySink, Sink, View
from projectors.dynamodb import DynamoSink
from projectors.sink import Change
from replicator.domain.canonical import encode_json
from replicator.domain.vector import VersionVector


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.emulator)])
def sink(request: pytest.FixtureRequest) -> Sink:
    return MemorySink() if request.param == "memory" else DynamoSink(request.getfixturevalue("settings"))


def view(sequence: int, key: str = "plane/N1", projection: str = "plane", said: str = "") -> View:
    """A view whose value tells which vector it belongs to."""
    text = encode_json({"sequence": sequence, "said": said})
    return View(projection, 1, key, VersionVector({"us-east-1": sequence, "eu-west-1": 7}), text, text)


def create(new: View) -> Change:
    return Change(None, new)


def move(old: View, new: View) -> Change:
    return Change(old.vector, new)


def stored(sink: Sink, of: View) -> View | None:
    return sink.load([(of.projection, of.key)]).get((of.projection, of.key))


def test_what_was_saved_is_loaded_to_the_byte_and_what_was_not_is_absent(sink: Sink) -> None:
    awkward = view(1, 'plane/O\'Hare "é\U0001f6eb"', said='"\\\n é\U0001f6eb')
    assert sink.save([create(view(1)), create(awkward)]) == [True, True]
    found = sink.load([("plane", "plane/N1"), ("plane", awkward.key), ("plane", "plane/N2"), ("other", "plane/N1")])
    assert found == {("plane", "plane/N1"): view(1), ("plane", awkward.key): awkward}
    assert found[("plane", awkward.key)].digest == awkward.digest


def test_nothing_in_is_nothing_out(sink: Sink) -> None:
    assert (sink.save([]), dict(sink.load([])), list(sink.views("plane"))) == ([], {}, [])


def test_a_view_moves_only_from_the_vector_that_was_read(sink: Sink) -> None:
    sink.save([create(view(1))])
    assert sink.save([move(view(1), view(2))]) == [True]
    assert sink.save([move(view(1), view(3))]) == [False]
    assert stored(sink, view(2)) == view(2)


def test_a_view_that_exists_is_not_created_again(sink: Sink) -> None:
    sink.save([create(view(1))])
    assert sink.save([create(view(2))]) == [False]
    assert stored(sink, view(1)) == view(1)


def test_a_view_that_does_not_exist_cannot_be_moved(sink: Sink) -> None:
    assert sink.save([move(view(1), view(2))]) == [False]
    assert stored(sink, view(2)) is None


def test_a_new_version_at_the_same_vector_replaces_the_old_one(sink: Sink) -> None:
    sink.save([create(view(1))])
    renewed = replace(view(1, said="anew"), version=2)
    assert sink.save([move(view(1), renewed)]) == [True]
    assert stored(sink, renewed) == renewed


@pytest.mark.parametrize("existing", [True, False])
def test_of_savers_at_the_same_vector_one_wins(sink: Sink, existing: bool) -> None:
    savers = 4
    if existing:
        sink.save([create(view(1))])
    barrier = Barrier(savers)

    def save(n: int) -> bool:
        new = view(2, said=f"saver {n}")
        barrier.wait()
        return sink.save([move(view(1), new) if existing else create(new)])[0]

    with ThreadPoolExecutor(savers) as pool:
        won = list(pool.map(save, range(savers)))
    assert won.count(True) == 1
    assert stored(sink, view(2)) == view(2, said=f"saver {won.index(True)}")


def test_vector_and_value_move_together(sink: Sink) -> None:
    sink.save([create(view(1))])

    def write() -> None:
        for sequence in range(1, 30):
            assert sink.save([move(view(sequence), view(sequence + 1))]) == [True]

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            read = stored(sink, view(1))
            assert read == view(read.vector.get("us-east-1") if read else 0)
        writing.result()
    assert stored(sink, view(1)) == view(30)


def test_each_of_many_changes_in_one_save_is_judged_alone(sink: Sink) -> None:
    def many(sequence: int) -> Sequence[View]:
        return [view(sequence, f"plane/N{n}") for n in range(110)]

    assert sink.save([create(each) for each in many(1)]) == [True] * 110
    stale = {3, 24, 25, 60, 109}
    changes = [Change(VersionVector({"us-east-1": 9}) if n in stale else view(1).vector, v) for n, v in enumerate(many(2))]
    assert sink.save(changes) == [n not in stale for n in range(110)]
    expected = [view(1 if n in stale else 2, f"plane/N{n}") for n in range(110)]
    assert sink.load([("plane", each.key) for each in expected]) == {("plane", each.key): each for each in expected}


def test_views_lists_every_view_of_one_projection(sink: Sink) -> None:
    mine = [view(n, f"plane/N{n}") for n in range(1, 8)]
    others = [view(1, projection="plane2"), view(1, projection="plan"), view(1, "plane/N1", "plane-by-day")]
    sink.save([create(each) for each in [*mine, *others]])
    assert sorted(sink.views("plane"), key=lambda v: v.key) == mine
    assert list(sink.views("plan")) == [others[1]]
    assert list(sink.views("nobody")) == []


def test_saving_the_same_change_again_loses_nothing(sink: Sink) -> None:
    """After an answer that was lost, a saver does not know, and saves again."""
    sink.save([create(view(1))])
    sink.save([create(view(1))])
    assert stored(sink, view(1)) == view(1)
    sink.save([move(view(1), view(2))])
    sink.save([move(view(1), view(2))])
    assert stored(sink, view(1)) == view(2)
    sink.save([move(view(2), view(3))])
    assert sink.save([move(view(1), view(2))]) == [False]  # somebody went on meanwhile
    assert stored(sink, view(1)) == view(3)
