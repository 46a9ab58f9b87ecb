"""The laws of the CRDTs under random concurrency: the state is a function of the set of events, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projectors.crdt import Add, Assign, Crdt, InvalidOperation, LwwRegister, OrSet, PnCounter, Remove, Tag
from replicator.domain.canonical import encode_json
from replicator.domain.clock import ZERO, Hlc, HybridLogicalClock
from replicator.domain.vector import EMPTY, VersionVector

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")
JEPSEN_MS = 262_000
elements = st.sampled_from(["EWR", "JFK"])
OPERATIONS: dict[str, tuple[Crdt, st.SearchStrategy[Any]]] = {
    "register": (LwwRegister(), st.builds(Assign, st.integers(0, 9))),
    "register with a domain time": (
        LwwRegister(),
        st.builds(Assign, st.integers(0, 9), st.sampled_from([None, -1, 0, 1, "", "a", "b"])),
    ),
    "counter": (PnCounter(), st.integers(-3, 3)),
    "set": (OrSet(), st.builds(Add, elements) | st.builds(Remove, elements)),
}
kinds = pytest.mark.parametrize(("crdt", "operations"), OPERATIONS.values(), ids=OPERATIONS.keys())


@dataclass(frozen=True)
class Op:
    """An operation as an event carries it."""

    operation: Any
    tag: Tag

    @property
    def context(self) -> VersionVector:
        """All that its writer knew: what it had observed, and its own lane."""
        return self.tag.observed.advance(self.tag.region, self.tag.sequence - 1)

    def knows(self, other: Op) -> bool:
        return self.context.covers(other.tag.region, other.tag.sequence)


@st.composite
def histories(draw: st.DrawFn, operations: st.SearchStrategy[Any]) -> list[Op]:
    """Lanes of three regions, each event having observed a random prefix of each other lane, by clocks that jump."""
    history: list[Op] = []
    lanes: dict[str, list[Op]] = {region: [] for region in REGIONS}
    skew = dict.fromkeys(REGIONS, 0)
    true = [1_763_914_981_123]
    clocks = {region: HybridLogicalClock(lambda region=region: true[0] + skew[region]) for region in REGIONS}
    for _ in range(draw(st.integers(0, 10))):
        region = draw(st.sampled_from(REGIONS))
        true[0] += draw(st.sampled_from([0, 0, 1, 1_000]))
        skew[region] = draw(st.sampled_from([0, -JEPSEN_MS, JEPSEN_MS]))
        seen = {other: draw(st.integers(0, len(lane))) for other, lane in lanes.items() if other != region}
        if draw(st.booleans()):  # a writer may or may not name its own lane
            seen[region] = len(lanes[region])
        own = [op.tag.hlc for op in lanes[region]]
        known = [lanes[other][:upto][-1].tag.hlc for other, upto in seen.items() if upto]
        stamp = clocks[region].tick(after=max([*own, *known], default=ZERO))
        op = Op(draw(operations), Tag(region, len(lanes[region]) + 1, stamp, VersionVector(seen)))
        lanes[region].append(op)
        history.append(op)
    return history


def vector_of(history: Iterable[Op]) -> VersionVector:
    vector = EMPTY
    for op in history:
        vector = vector.advance(op.tag.region, op.tag.sequence)
    return vector


def fold(crdt: Crdt, ops: Iterable[Op], state: Any = None) -> Any:
    state = crdt.initial() if state is None else state
    for op in ops:
        state = crdt.apply(state, op.operation, op.tag)
    return state


def text(crdt: Crdt, state: Any) -> str:
    return encode_json({"state": state, "value": crdt.value(state)})


def final(crdt: Crdt, history: Sequence[Op]) -> str:
    return text(crdt, crdt.compact(fold(crdt, history), vector_of(history)))


def interleaved(data: st.DataObject, history: Sequence[Op]) -> list[Op]:
    """Another order of the same events that keeps each lane's order."""
    lanes = {region: iter([op for op in history if op.tag.region == region]) for region in REGIONS}
    return [next(lanes[region]) for region in data.draw(st.permutations([op.tag.region for op in history]))]


def prefix(data: st.DataObject, history: Sequence[Op]) -> tuple[list[Op], VersionVector]:
    """What a replica has that each lane has reached up to some point, in some order."""
    full = vector_of(history)
    upto = VersionVector({region: data.draw(st.integers(0, full.get(region))) for region in REGIONS})
    held = [op for op in history if upto.covers(op.tag.region, op.tag.sequence)]
    return interleaved(data, held), upto


laws: Callable[[Any], Any] = settings(max_examples=120, deadline=None)


@kinds
@laws
@given(data=st.data())
def test_any_interleaving_with_duplicates_gives_the_same_bytes(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = data.draw(histories(operations))
    delivered: list[Op] = []
    for op in interleaved(data, history):
        delivered.append(op)
        if data.draw(st.booleans()):
            delivered.append(data.draw(st.sampled_from(delivered)))
    assert final(crdt, delivered) == final(crdt, history)


@kinds
@laws
@given(data=st.data())
def test_compacting_anywhere_on_the_way_changes_nothing(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = data.draw(histories(operations))
    state, seen = crdt.initial(), EMPTY
    for op in interleaved(data, history):
        state, seen = fold(crdt, [op], state), seen.advance(op.tag.region, op.tag.sequence)
        if data.draw(st.booleans()):
            state = crdt.compact(state, seen)
    state = crdt.compact(state, seen)
    assert text(crdt, state) == final(crdt, history)
    assert crdt.compact(state, seen) == state


@kinds
@laws
@given(data=st.data())
def test_views_with_equal_vectors_are_equal_on_the_way_too(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    held, upto = prefix(data, data.draw(histories(operations)))
    again = interleaved(data, held)
    half = data.draw(st.integers(0, len(again)))
    state = crdt.compact(fold(crdt, again[:half]), vector_of(again[:half]))
    assert text(crdt, crdt.compact(fold(crdt, again[half:], state), upto)) == final(crdt, held)


@kinds
@laws
@given(data=st.data())
def test_merging_two_replicas_is_applying_all_events(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = data.draw(histories(operations))
    (left, left_seen), (right, right_seen) = prefix(data, history), prefix(data, history)
    a, b = (crdt.compact(fold(crdt, ops), seen) for ops, seen in ((left, left_seen), (right, right_seen)))
    union, seen = [op for op in history if op in left or op in right], left_seen.join(right_seen)
    merged = crdt.compact(crdt.merge(a, left_seen, b, right_seen), seen)
    assert text(crdt, merged) == final(crdt, union)
    rest = [op for op in history if op not in union]
    assert text(crdt, crdt.compact(fold(crdt, rest, merged), vector_of(history))) == final(crdt, history)


@kinds
@laws
@given(data=st.data())
def test_merge_is_commutative_associative_and_idempotent(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = data.draw(histories(operations))

    def replica() -> tuple[Any, VersionVector]:
        ops, seen = prefix(data, history)
        return crdt.compact(fold(crdt, ops), seen), seen

    def merge(x: tuple[Any, VersionVector], y: tuple[Any, VersionVector]) -> tuple[Any, VersionVector]:
        return crdt.merge(*x, *y), x[1].join(y[1])

    def shown(x: tuple[Any, VersionVector]) -> str:
        return text(crdt, x[0])

    a, b, c = replica(), replica(), replica()
    assert shown(merge(a, a)) == shown(a)
    assert shown(merge(a, b)) == shown(merge(b, a))
    assert shown(merge(merge(a, b), c)) == shown(merge(a, merge(b, c)))
    assert shown(merge(merge(a, b), b)) == shown(merge(a, b))


@laws
@given(histories(OPERATIONS["set"][1]))
def test_a_set_holds_what_some_unseen_add_keeps(history: list[Op]) -> None:
    adds = [op for op in history if isinstance(op.operation, Add)]
    removes = [op for op in history if isinstance(op.operation, Remove)]
    expected = {
        add.operation.element
        for add in adds
        if not any(r.operation.element == add.operation.element and r.knows(add) for r in removes)
    }
    state = OrSet().compact(fold(OrSet(), history), vector_of(history))
    assert OrSet().value(state) == sorted(expected)
    assert state["removed"] == {}  # nothing is on its way, so nothing is kept of what is gone


@laws
@given(histories(OPERATIONS["counter"][1]))
def test_a_counter_is_the_plain_sum(history: list[Op]) -> None:
    assert PnCounter().value(fold(PnCounter(), history)) == sum(op.operation for op in history)


def rank(op: Op) -> tuple[Any, ...]:
    at = op.operation.at
    order = (0, 0, "") if at is None else (1, at, "") if isinstance(at, int) else (2, 0, at)
    return (*order, op.tag.hlc, op.tag.region, op.tag.sequence)


@pytest.mark.parametrize("kind", ["register", "register with a domain time"])
@laws
@given(data=st.data())
def test_a_register_holds_the_latest_by_domain_time_hlc_region_sequence(kind: str, data: st.DataObject) -> None:
    history = data.draw(histories(OPERATIONS[kind][1]))
    last = max(history, key=rank).operation.value if history else None
    assert LwwRegister().value(fold(LwwRegister(), history)) == last


@laws
@given(histories(OPERATIONS["register"][1]))
def test_a_causally_later_assignment_wins_under_clock_bumps(history: list[Op]) -> None:
    state = fold(LwwRegister(), history)
    if state is not None:
        [winner] = [op for op in history if [op.tag.region, op.tag.sequence] == state[2:4]]
        assert not any(op.knows(winner) for op in history)


def test_a_tie_of_timestamps_is_resolved_identically_everywhere() -> None:
    tie = [Op(Assign(region), Tag(region, 1, Hlc(5, 5), EMPTY)) for region in REGIONS]
    assert {final(LwwRegister(), order) for order in permutations(tie)} == {final(LwwRegister(), tie)}
    assert LwwRegister().value(fold(LwwRegister(), tie)) == "us-east-1"


@pytest.mark.parametrize(
    ("crdt", "operation", "named"),
    [
        (PnCounter(), 1.0, "integers, not 1.0"),
        (PnCounter(), True, "integers, not True"),
        (PnCounter(), "1", "integers, not '1'"),
        (OrSet(), "EWR", "Add"),
        (OrSet(), Add(1), "Add"),  # type: ignore[arg-type]
        (LwwRegister(), 7, "Assign"),
        (LwwRegister(), Assign(7, 1.5), "1.5"),  # type: ignore[arg-type]
        (LwwRegister(), Assign(7, True), "True"),
    ],
)
def test_what_a_type_cannot_take_is_refused_with_the_value(crdt: Crdt, operation: Any, named: str) -> None:
    with pytest.raises(InvalidOperation, match=named):
        crdt.apply(crdt.initial(), operation, Tag("us-east-1", 1, ZERO, EMPTY))


@kinds
@laws
@given(data=st.data())
def test_no_state_is_ever_changed_in_place(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = data.draw(histories(operations))
    state, seen = crdt.initial(), EMPTY
    for op in history:
        before = text(crdt, state)
        after = crdt.apply(state, op.operation, op.tag)
        crdt.merge(state, seen, after, seen := seen.advance(op.tag.region, op.tag.sequence))
        crdt.compact(state, seen)
        assert text(crdt, state) == before
        state = after
