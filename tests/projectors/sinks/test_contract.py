"""The contract of every sink: a view's value and its version vector change together, over what was read, or not at all.

PostgreSQL, Redis and the DynamoDB emulator are real servers; OpenSearch is a stand-in behind a proxy (late.py), unless
MERIDIAN_TEST_OPENSEARCH names a real one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from threading import Barrier
from typing import Any

import pytest

from projectors import Sink, View
from projectors.engine.digests import Effort, Range, Summary, Tree, differences, place
from projectors.engine.sink import Change
from projectors.model.view import MAX_VIEW_BYTES, ViewKey
from replicator.domain.canonical import encode_json
from replicator.domain.errors import DamagedEvent
from replicator.domain.vector import VersionVector
from tests.projectors.sinks.conftest import KINDS
from tests.projectors.sinks.views import create, move, stored, view

AWKWARD = [
    'plane/O\'Hare "é\U0001f6eb"',
    "plane/%s %(x)s 100%",
    "plane/{a},b\\c;--",
    "plane/*?[a-z]^$",
    "plane/a b/c/@1",
    "plane/" + "\U0001f6eb" * 250,
]


def test_what_was_saved_is_loaded_to_the_byte_and_what_was_not_is_absent(sink: Sink) -> None:
    said = "\"\\\n\t\0\x7f\u2028 é\U0001f6eb \\u0000 ' %s {}"
    saved = [
        view(1),
        *(view(1, key, said=said) for key in AWKWARD),
        *(view(1, key, said=said, row=key) for key in AWKWARD[:5]),
    ]
    assert sink.save([create(each) for each in saved]) == [True] * len(saved)
    others = [ViewKey("plane", "plane/N2"), ViewKey("other", "plane/N1"), ViewKey("plane", "plane/N1", row="a")]
    found = sink.load([*(each.id for each in saved), *others])
    assert found == {each.id: each for each in saved}
    assert all(found[each.id].digest == each.digest for each in saved)
    assert sorted(sink.views("plane"), key=lambda v: v.id) == sorted(saved, key=lambda v: v.id)
    assert not list(differences(sink.summary("plane"), Tree.of(saved)))


def test_nothing_in_is_nothing_out(sink: Sink) -> None:
    assert (sink.save([]), dict(sink.load([])), list(sink.views("plane"))) == ([], {}, [])
    assert not sink.summary("plane").ranges("")
    assert not sink.summary("plane").rows("")
    assert list(sink.cells("plane", 1, "row")) == []
    assert sum(sink.drop("plane", 1)) == 0


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
    assert not sink.summary("plane").ranges("")


def test_versions_of_a_projection_lie_side_by_side(sink: Sink) -> None:
    second = replace(view(1, said="anew"), version=2)
    assert sink.save([create(view(1)), create(second)]) == [True, True]
    assert sink.load([view(1).id, second.id]) == {view(1).id: view(1), second.id: second}
    assert (list(sink.views("plane", 1)), list(sink.views("plane", 2))) == ([view(1)], [second])
    assert list(sink.drop("plane", 1))[-1] == 1
    assert (list(sink.views("plane", 1)), list(sink.views("plane", 2))) == ([], [second])
    assert dict(sink.summary("plane", 2).rows("")) == dict(Tree.of([second]).rows(""))


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


def test_savers_of_overlapping_batches_in_opposite_orders_all_end_and_each_view_has_one_winner(sink: Sink) -> None:
    savers, keys = 6, [f"plane/N{n}" for n in range(40)]
    barrier = Barrier(savers)

    def save(n: int, old: Sequence[View | None]) -> list[bool]:
        chosen = random.Random(n)
        mine = [(key, before) for key, before in zip(keys, old, strict=True) if n < 2 or chosen.random() < 0.7]
        mine = mine[:: -1 if n % 2 else 1]
        round = max(before.vector.get("us-east-1") if before else 0 for _, before in mine) + 1
        barrier.wait()
        won = sink.save([Change(b.vector if b else None, view(round, key, said=f"{n}")) for key, b in mine])
        by_key = dict(zip((key for key, _ in mine), won, strict=True))
        return [by_key.get(key, False) for key in keys]

    old: list[View | None] = [None] * len(keys)
    with ThreadPoolExecutor(savers) as pool:
        for round in (1, 2):
            won = list(pool.map(save, range(savers), [old] * savers))
            winners = [[n for n in range(savers) if won[n][k]] for k in range(len(keys))]
            assert [len(each) for each in winners] == [1] * len(keys)
            old = [view(round, key, said=f"{winner}") for key, (winner,) in zip(keys, winners, strict=True)]
            assert sink.load([each.id for each in old if each]) == {each.id: each for each in old if each}
    assert not list(differences(sink.summary("plane"), Tree.of(each for each in old if each)))


def test_each_of_six_hundred_changes_in_one_save_is_judged_alone(sink: Sink) -> None:
    count = 600  # the largest batches of a sink are of 500

    def many(sequence: int) -> Sequence[View]:
        return [view(sequence, f"plane/N{n}") for n in range(count)]

    assert sink.save([create(each) for each in many(1)]) == [True] * count
    stale = {3, 24, 25, 60, 109, 499, 500, 599}
    changes = [Change(VersionVector({"us-east-1": 9}) if n in stale else view(1).vector, v) for n, v in enumerate(many(2))]
    assert sink.save(changes) == [n not in stale for n in range(count)]
    expected = [view(1 if n in stale else 2, f"plane/N{n}") for n in range(count)]
    assert sink.load([each.id for each in expected]) == {each.id: each for each in expected}
    assert whole(sink.summary("plane")) == whole(Tree.of(expected))


def test_a_view_as_large_as_views_may_be(sink: Sink) -> None:
    half = (MAX_VIEW_BYTES - 200) // 2
    large = view(1, said="")
    large = replace(
        large, state_text=encode_json({"s": "é" * (half // 2)}), value_text=encode_json({"v": "word " * (half // 5)})
    )
    assert MAX_VIEW_BYTES - 1000 < large.size <= MAX_VIEW_BYTES
    assert sink.save([create(large)]) == [True]
    assert stored(sink, large) == large
    assert sink.save([move(large, replace(large, vector=view(2).vector))]) == [True]
    assert list(sink.views("plane")) == [replace(large, vector=view(2).vector)]


def test_views_lists_every_view_of_one_projection(sink: Sink) -> None:
    mine = [view(n, f"plane/N{n}") for n in range(1, 8)]
    others = [view(1, projection="plane2"), view(1, projection="plan"), view(1, "plane/N1", "plane-by-day")]
    sink.save([create(each) for each in [*mine, *others]])
    assert sorted(sink.views("plane"), key=lambda v: v.key) == mine
    assert list(sink.views("plan")) == [others[1]]
    assert list(sink.views("nobody")) == []


def test_the_cells_of_a_row_come_in_the_order_of_their_owners(sink: Sink) -> None:
    owners = ["plane/Z", "plane/a", "plane/N10", "plane/N9", "plane/é", "plane/\U0001f6eb", "plane/\uff5a"]
    cells = [view(n, owner, row="JFK") for n, owner in enumerate(owners, 1)]
    others = [view(1, row="LGA"), view(1, row="JFK2"), view(1, "plane/a"), view(1, "plane/a", row="JFK", version=2)]
    sink.save([create(each) for each in [*cells, *others]])
    assert list(sink.cells("plane", 1, "JFK")) == sorted(cells, key=lambda cell: cell.key)
    assert list(sink.cells("plane", 2, "JFK")) == [others[3]]
    assert list(sink.cells("plane", 1, "")) == list(sink.cells("plane", 1, "EWR")) == []
    moved = view(50, "plane/a", row="JFK")
    assert sink.save([move(cells[1], moved)]) == [True]
    assert moved in list(sink.cells("plane", 1, "JFK"))
    assert stored(sink, others[2]) == others[2]


def test_saving_the_same_change_again_loses_nothing(sink: Sink) -> None:
    """After an answer that was lost, a saver does not know, and saves again."""
    assert sink.save([create(view(1))]) == sink.save([create(view(1))]) == [True]
    assert stored(sink, view(1)) == view(1)
    assert sink.save([move(view(1), view(2))]) == sink.save([move(view(1), view(2))]) == [True]
    assert stored(sink, view(1)) == view(2)
    sink.save([move(view(2), view(3))])
    assert sink.save([move(view(1), view(2))]) == [False]  # somebody went on meanwhile
    assert stored(sink, view(1)) == view(3)
    assert whole(sink.summary("plane")) == whole(Tree.of([view(3)]))


def test_a_projections_version_is_dropped_and_nothing_else(sink: Sink) -> None:
    doomed = [*(view(1, f"plane/N{n}") for n in range(60)), *(view(1, f"plane/N{n}", row="JFK") for n in range(60))]
    kept = [view(1, version=2), view(1, projection="planes"), view(1, row="JFK", projection="planes")]
    sink.save([create(each) for each in [*doomed, *kept]])
    assert list(sink.drop("plane", 1))[-1] == len(doomed)
    assert not sink.load([each.id for each in doomed])
    assert list(sink.views("plane")) == list(sink.cells("plane", 1, "JFK")) == []
    assert not sink.summary("plane").ranges("")
    assert sink.load([each.id for each in kept]) == {each.id: each for each in kept}
    assert sum(sink.drop("plane", 1)) == 0
    assert sink.save([create(doomed[0]), create(doomed[-1])]) == [True, True]
    assert whole(sink.summary("plane")) == whole(Tree.of([doomed[0], doomed[-1]]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_drop_that_is_cut_short_leaves_no_stream_known_as_folded_whose_cells_are_gone(
    made: Callable[[str], Sink], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for steps in ("postgresql._DROP", "redis._PAGE", "search._DROP"):
        monkeypatch.setattr(f"projectors.sinks.{steps}", 20)
    sink = made(kind)
    streams = [f"plane/N{n}" for n in range(60)]
    views = [view(1, key, row=row) for key in streams for row in ("", "JFK", "LGA")]
    sink.save([create(each) for each in views])

    def check() -> int:
        left = {each.id for each in sink.views("plane")}
        known = [key for key in left if not key.row]
        assert all(key._replace(row=row) in left for key in known for row in ("JFK", "LGA"))
        return len(left)

    seen = [len(views)]
    while seen[-1]:
        for step, _ in enumerate(sink.drop("plane", 1)):
            seen.append(check())
            if step == len(seen) % 3:
                break  # cut short, and begun again
    assert len({*seen}) > 2
    assert seen == sorted(seen, reverse=True)
    list(sink.drop("plane", 1))
    assert not sink.summary("plane").ranges("")


def test_views_are_discarded_one_by_one_and_made_again(sink: Sink) -> None:
    views = [view(1, f"plane/N{n}", row=row) for n in range(40) for row in ("", "JFK")]
    sink.save([create(each) for each in views])
    lost = [views[0], views[3], views[4], views[5]]
    sink.discard(
        [*(each.id for each in lost), lost[0].id, ViewKey("plane", "plane/none"), ViewKey("none", "plane/N1", 9, "x")]
    )
    sink.discard([])
    held = [each for each in views if each not in lost]
    assert sink.load([each.id for each in views]) == {each.id: each for each in held}
    assert {each.id for each in sink.views("plane")} == {each.id for each in held}
    assert {each.id for each in sink.cells("plane", 1, "JFK")} == {each.id for each in held if each.row}
    for thorough in (False, True):
        assert whole(sink.summary("plane", thorough=thorough)) == whole(Tree.of(held))
    assert sink.save([create(each) for each in lost]) == [True] * 4
    for thorough in (False, True):
        assert whole(sink.summary("plane", thorough=thorough)) == whole(Tree.of(views))


def whole(summary: Summary) -> tuple[dict[str, Range], dict[ViewKey, Any]]:
    """All that a summary says down to five digits, and its rows."""
    found: dict[str, Range] = {}
    waiting = [""]
    while waiting:
        below = summary.ranges(waiting.pop())
        found |= below
        waiting += [name for name in below if len(name) < 5]
    return found, dict(summary.rows(""))


def test_a_summary_is_that_of_the_views_whatever_happened_to_them(sink: Sink) -> None:
    chance = random.Random(7)
    held: dict[ViewKey, View] = {}
    for round in range(1, 5):
        changes = []
        for n in chance.sample(range(200), 120):
            new = view(round, f"plane/N{n}", row="JFK" if n % 3 else "")
            old = held.get(new.id)
            wrong = chance.random() < 0.2
            before = VersionVector({"us-east-1": 99}) if wrong else old.vector if old else None
            changes.append(Change(before, new))
            if not wrong:
                held[new.id] = new
        sink.save(changes)
    assert whole(sink.summary("plane")) == whole(Tree.of(sink.views("plane"))) == whole(Tree.of(held.values()))
    some = next(iter(held.values()))
    prefix = place(some.key, some.row)[:2]
    assert all(place(key.key, key.row).startswith(prefix) for key in sink.summary("plane").rows(prefix))
    assert some.id in sink.summary("plane").rows(place(some.key, some.row))


def test_sinks_that_hold_the_same_views_say_the_same(made: Callable[[str], Sink]) -> None:
    kinds = ["memory", "dynamodb", "dynamodb-local", "postgresql", "redis", "search"]
    sinks = {kind: made(kind) for kind in kinds}
    views = [view(n, f"plane/N{n}", row="JFK" if n % 2 else "") for n in range(1, 80)]
    for sink in sinks.values():
        sink.save([create(each) for each in views[:50]])
        sink.save([create(each) for each in views[50:]])
    for left, right in combinations(kinds, 2):
        effort = Effort()
        assert not list(differences(sinks[left].summary("plane"), sinks[right].summary("plane"), effort)), (left, right)
        assert (effort.ranges, effort.rows, effort.views) == (1, 0, 79)
    ahead = view(500, views[0].key, row=views[0].row)
    for kind in kinds:
        sinks[kind].save([move(views[0], ahead)])
        left, right = sinks[kind].summary("plane"), Tree.of(views[:-1])
        found = {each.key: each for each in differences(left, right)}
        assert set(found) == {ahead.id, views[-1].id}
        assert found[views[-1].id].right is None
        assert not found[ahead.id].damaged


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_three_differences_among_five_thousand_views_are_found_with_little_reading(
    made: Callable[[str], Sink], kind: str
) -> None:
    sink, count = made(kind), 5000
    views = [view(1, f"plane/N{n}") for n in range(count)]
    for start in range(0, count, 1000):
        sink.save([create(each) for each in views[start : start + 1000]])
    damaged = view(1, "plane/N17", said="damaged")
    other = [damaged if each.id == damaged.id else each for each in views if each.key != "plane/N4000"]
    sink.save([move(views[3], view(2, views[3].key))])
    effort = Effort()
    found = {each.key.key: each for each in differences(sink.summary("plane"), Tree.of(other), effort)}
    assert set(found) == {"plane/N17", "plane/N4000", "plane/N3"}
    assert [found[f"plane/N{n}"].damaged for n in (17, 4000, 3)] == [True, False, False]
    assert found["plane/N4000"].right is None
    assert effort.ranges <= 1 + 3 * 2
    assert effort.rows <= 3 * 32
    assert effort.views == count


@pytest.mark.parametrize("kind", [pytest.param("dynamodb", marks=pytest.mark.emulator), "postgresql", "redis", "search"])
def test_a_view_that_was_damaged_is_never_returned(made: Callable[[str], Sink], kind: str) -> None:
    sink: Any = made(kind)
    sink.save([create(view(1)), create(view(1, "plane/N2", row="JFK")), create(view(1, "plane/N3"))])
    wrong = view(1, said="forged").value_text
    if kind == "dynamodb":
        key = {"pk": {"S": "plane@1#plane/N1"}, "sk": {"S": "-"}}
        update = {"UpdateExpression": "SET #v = :v", "ExpressionAttributeNames": {"#v": "value"}}
        sink._client.update_item(TableName=sink._table, Key=key, **update, ExpressionAttributeValues={":v": {"S": wrong}})
    elif kind == "postgresql":
        table = f'"{sink._settings.prefix}_views"'
        sink._run(lambda c: c.execute(f"UPDATE {table} SET value = %s WHERE key = %s", (wrong, "plane/N1")))
    elif kind == "redis":
        sink._client.hset(sink._keys(view(1).id)[0], "value", wrong)
    else:
        sink._client.update(index=sink._alias, id="plane@1##plane/N1", body={"doc": {"value_text": wrong}})
    with pytest.raises(DamagedEvent, match="plane plane/N1 does not match its digest"):
        sink.load([view(1).id])
    with pytest.raises(DamagedEvent):
        list(sink.views("plane"))
    assert sink.load([view(1, "plane/N3").id])
    assert len(list(sink.cells("plane", 1, "JFK"))) == 1
