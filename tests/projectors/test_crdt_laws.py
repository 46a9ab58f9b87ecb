"""The laws of the CRDTs under random concurrency: the state is a function of the set of events, and nothing else."""

from __future__ import annotations

import copy
import random
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, permutations
from typing import Any, cast

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projectors.crdt import (
    Add,
    Assign,
    BoundedCounter,
    Crdt,
    DisableWinsFlag,
    EnableWinsFlag,
    GCounter,
    GSet,
    InvalidOperation,
    LatestRegister,
    LwwMap,
    LwwRegister,
    Made,
    MaxRegister,
    MinRegister,
    MvRegister,
    OrMap,
    OrSet,
    PnCounter,
    Put,
    Remove,
    RemoveWinsSet,
    Restock,
    RichText,
    Tag,
    Take,
    Transfer,
    TwoPhaseSet,
    Update,
)
from projectors.crdt import Sequence as YjsList
from projectors.crdt.base import applying_runs
from replicator.domain.canonical import encode_json
from replicator.domain.clock import ZERO, Hlc, HybridLogicalClock
from replicator.domain.event import Event
from replicator.domain.vector import EMPTY, VersionVector

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")
JEPSEN_MS = 262_000
elements = st.sampled_from(["EWR", "JFK"])
keys = st.sampled_from(["gate", "crew"])
assignments = st.builds(Assign, st.integers(0, 9))
set_operations = st.builds(Add, elements) | st.builds(Remove, elements)


def updates(nested: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(Update, keys, nested) | st.builds(Remove, keys)


def edits(root: str, kind: type[Any]) -> tuple[list[str], Any]:
    """Updates of three editors that hear of each other now and then, each an event, and the text or list they end with."""
    made: list[bytes] = []
    chance = random.Random(7)
    documents: list[Any] = [pycrdt.Doc(client_id=client) for client in (11, 12, 13)]

    def hear(event: Any) -> None:
        made.append(event.update)

    for step in range(12):
        document = chance.choice(documents)
        content = document.get(root, type=kind)
        watch = document.observe(hear)
        length = len(content)
        if length > 2 and chance.random() < 0.3:
            del content[chance.randrange(length)]
        elif kind is pycrdt.Text and length > 2 and chance.random() < 0.4:
            content.format(0, chance.randrange(1, length), {"bold": True})
        else:
            content.insert(chance.randrange(length + 1), f"{step};")
        document.unobserve(watch)
        for other in documents:
            if chance.random() < 0.5:
                other.apply_update(document.get_update())
    ended: Any = pycrdt.Doc()
    for update in made:  # each has been made after what it rests on
        ended.apply_update(update)
    return [b64encode(update).decode() for update in made], ended.get(root, type=kind).to_py()


EDITS = {"list": edits("sequence", pycrdt.Array), "rich text": edits("text", pycrdt.Text)}


OPERATIONS: dict[str, tuple[Crdt, st.SearchStrategy[Any]]] = {
    "register": (LwwRegister(), st.builds(Assign, st.integers(0, 9))),
    "register with a domain time": (
        LwwRegister(),
        st.builds(Assign, st.integers(0, 9), st.sampled_from([None, -1, 0, 1, "", "a", "b"])),
    ),
    "counter": (PnCounter(), st.integers(-3, 3)),
    "set": (OrSet(), set_operations),
    "multi-value register": (MvRegister(), assignments),
    "latest register": (LatestRegister(), assignments),
    "grow-only counter": (GCounter(), st.integers(0, 3)),
    "stock": (
        BoundedCounter(),
        st.builds(Restock, st.integers(0, 9))
        | st.builds(Take, st.integers(0, 5))
        | st.builds(Transfer, st.integers(0, 5), st.just("sa-east-1")),
    ),
    "grow-only set": (GSet(), st.builds(Add, elements)),
    "final set": (TwoPhaseSet(), set_operations),
    "remove-wins set": (RemoveWinsSet(), set_operations),
    "enable-wins flag": (EnableWinsFlag(), st.booleans()),
    "disable-wins flag": (DisableWinsFlag(), st.booleans()),
    "last-writer-wins map": (LwwMap(), st.builds(Put, keys, st.integers(0, 2)) | st.builds(Remove, keys)),
    "map of sets": (OrMap(OrSet()), updates(set_operations)),
    "map of multi-value registers": (OrMap(MvRegister()), updates(assignments)),
    "map of latest registers": (OrMap(LatestRegister()), updates(assignments)),
    "map of flags": (OrMap(EnableWinsFlag()), updates(st.booleans())),
    "map of maps": (OrMap(OrMap(OrSet())), updates(updates(set_operations))),
    "maximum": (MaxRegister(), st.integers(-3, 3)),
    "minimum": (MinRegister("string"), st.sampled_from(["", "a", "ab", "é"])),
    "list": (YjsList(), st.sampled_from(EDITS["list"][0])),
    "rich text": (RichText(), st.sampled_from(EDITS["rich text"][0])),
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


laws: Callable[[Any], Any] = settings(max_examples=60, deadline=None)
few: Callable[[Any], Any] = settings(max_examples=20, deadline=None)


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
def test_a_run_of_a_lane_is_its_operations_one_after_the_other(crdt: Crdt, operations: Any, data: st.DataObject) -> None:
    history = interleaved(data, data.draw(histories(operations)))
    size = data.draw(st.integers(2, 4))
    state, at = crdt.initial(), 0
    lanes = sorted(history, key=lambda op: op.tag.region) if data.draw(st.booleans()) else history
    for _, group in groupby(lanes, key=lambda op: op.tag.region):  # whole lanes, or what happens to come together
        ops = list(group)
        for run in [ops[start : start + size] for start in range(0, len(ops), size)]:
            assert state == fold(crdt, lanes[:at])
            before = copy.deepcopy(state)
            after = applying_runs(crdt)(state, [(op.operation, cast(Event, op.tag)) for op in run])
            assert state == before, "changed in place"
            state, at = after, at + len(run)
    assert state == fold(crdt, lanes)


@pytest.mark.parametrize(
    ("crdt", "operations"),
    [
        (LwwRegister(), [Assign("a"), "b"]),
        (LwwRegister(), [Assign("a"), Assign("\ud800")]),
        (LwwRegister(), [Assign({1}), Assign("b")]),
        (LwwRegister(), [Assign("a"), Assign("b", at=1.5)]),
        (PnCounter(), [1, True]),
        (PnCounter(), [1, 1.0]),
        (PnCounter(), [2**53 - 1, 1, -5]),
        (PnCounter(), [-(2**53 - 1), -1]),
        (OrSet(), [Add("a"), Add(1)]),  # type: ignore[arg-type]
        (OrSet(), [Add("a"), Add("\ud800")]),
        (OrSet(), [Add("a"), "b"]),
    ],
)
def test_a_run_with_an_operation_that_is_none_is_refused(crdt: Crdt, operations: list[Any]) -> None:
    run = [(operation, tagged(REGIONS[2], n)) for n, operation in enumerate(operations, 1)]
    with pytest.raises(InvalidOperation):
        fold(crdt, [Op(operation, tag) for operation, tag in run])
    with pytest.raises(InvalidOperation):
        applying_runs(crdt)(crdt.initial(), [(operation, cast(Event, tag)) for operation, tag in run])


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
    merged = crdt.merge(a, left_seen, b, right_seen)
    assert crdt.compact(merged, seen) == merged
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

    def written(x: tuple[Any, VersionVector]) -> str:
        return text(crdt, x[0])

    a, b, c = replica(), replica(), replica()
    assert written(merge(a, a)) == written(a)
    assert written(merge(a, b)) == written(merge(b, a))
    assert written(merge(merge(a, b), c)) == written(merge(a, merge(b, c)))
    assert written(merge(merge(a, b), b)) == written(merge(a, b))


def made(op: Op) -> Made:
    return Made(op.operation, op.tag)


@kinds
@laws
@given(data=st.data())
def test_of_two_concurrent_operations_the_discarded_one_leaves_no_trace(
    crdt: Crdt, operations: Any, data: st.DataObject
) -> None:
    stamps = st.builds(Hlc, st.integers(1, 2), st.integers(0, 1))
    left, right = (Op(data.draw(operations), Tag(region, 1, data.draw(stamps), EMPTY)) for region in REGIONS[:2])
    assert left.tag.concurrent(right.tag)
    ours, theirs = made(left), made(right)
    lost = crdt.discarded(ours, theirs)
    assert lost is crdt.discarded(theirs, ours)
    both = crdt.value(fold(crdt, [left, right]))
    if lost is not None:
        assert lost is ours or lost is theirs
        assert both == crdt.value(fold(crdt, [right if lost is ours else left]))
    elif not isinstance(crdt, OrMap | YjsList | RichText):  # there one may show nothing without the other, or beside it
        for kept, gone in ((left, right), (right, left)):
            shown, alone = crdt.value(fold(crdt, [kept])), crdt.value(fold(crdt, [gone]))
            assert both != shown or alone in (shown, crdt.value(crdt.initial()))


X_IN, X_OUT = Add("EWR"), Remove("EWR")


@pytest.mark.parametrize(
    ("crdt", "earlier", "later", "lost"),
    [
        (LwwRegister(), Assign(1), Assign(2), "earlier"),
        (LwwRegister(), Assign(1, at=9), Assign(2, at=8), "later"),
        (LwwRegister(), Assign(1), Assign(1), None),
        (LwwRegister(), Assign(1), Assign(True), "earlier"),  # equal in Python, not in JSON
        (MvRegister(), Assign(1), Assign(2), None),
        (LatestRegister(), Assign(1), Assign(2), "earlier"),
        (LatestRegister(), Assign(1), Assign(1), None),
        (PnCounter(), 1, -1, None),
        (GCounter(), 1, 1, None),
        (BoundedCounter(), Take(5), Take(5), None),
        (GSet(), X_IN, X_IN, None),
        (OrSet(), X_IN, X_OUT, "later"),
        (OrSet(), X_IN, Remove("JFK"), None),
        (TwoPhaseSet(), X_IN, X_OUT, "earlier"),
        (TwoPhaseSet(), X_OUT, X_IN, "later"),
        (TwoPhaseSet(), X_OUT, X_OUT, None),
        (RemoveWinsSet(), X_OUT, X_IN, "later"),
        (RemoveWinsSet(), X_IN, Remove("JFK"), None),
        (EnableWinsFlag(), True, False, "later"),
        (EnableWinsFlag(), False, False, None),
        (DisableWinsFlag(), True, False, "earlier"),
        (DisableWinsFlag(), True, True, None),
        (LwwMap(), Put("gate", 1), Put("gate", 2), "earlier"),
        (LwwMap(), Put("gate", 1), Remove("gate"), "earlier"),
        (LwwMap(), Remove("gate"), Put("gate", 1), "earlier"),
        (LwwMap(), Remove("gate"), Remove("gate"), None),
        (LwwMap(), Put("gate", 1), Put("crew", 2), None),
        (LwwMap(), Put("gate", None), Remove("gate"), "earlier"),
        (OrMap(OrSet()), Update("gate", X_IN), Remove("gate"), "later"),
        (OrMap(OrSet()), Update("gate", X_IN), Remove("crew"), None),
        (OrMap(OrSet()), Update("gate", X_OUT), Update("gate", X_IN), "earlier"),
        (OrMap(OrSet()), Update("gate", X_OUT), Update("crew", X_IN), None),
        (OrMap(OrMap(OrSet())), Update("gate", Remove("crew")), Update("gate", Update("crew", X_IN)), "earlier"),
        (OrMap(LatestRegister()), Update("gate", Assign(1)), Update("gate", Assign(2)), "earlier"),
        (OrMap(OrSet()), Remove("gate"), Remove("gate"), None),
        (MaxRegister(), 1, 2, "earlier"),
        (MinRegister(), 1, 2, "later"),
        (MinRegister(), 1, 1, None),
        (RichText(), "AAA=", "AAA=", None),
    ],
)
def test_which_of_two_operations_is_discarded(crdt: Crdt, earlier: Any, later: Any, lost: str | None) -> None:
    pair = {
        "earlier": Made(earlier, Tag("us-east-1", 1, Hlc(1, 0), EMPTY)),
        "later": Made(later, Tag("eu-west-1", 1, Hlc(2, 0), EMPTY)),
    }
    assert crdt.discarded(pair["earlier"], pair["later"]) is (pair[lost] if lost else None)
    assert crdt.discarded(pair["later"], pair["earlier"]) is (pair[lost] if lost else None)


@kinds
@few
@given(data=st.data())
def test_the_total_of_a_row_does_not_depend_on_the_order_of_its_cells(
    crdt: Crdt, operations: Any, data: st.DataObject
) -> None:
    owners = [f"flight/{n}" for n in range(data.draw(st.integers(0, 3)))]
    cells = {}
    for owner in owners:
        history = data.draw(histories(operations))
        cells[owner] = crdt.compact(fold(crdt, history), vector_of(history))
    total = encode_json({"total": crdt.total(cells)})
    assert encode_json({"total": crdt.total({owner: cells[owner] for owner in reversed(owners)})}) == total
    assert encode_json({"total": crdt.total(dict(data.draw(st.permutations(list(cells.items())))))}) == total


@pytest.mark.parametrize("kind", [kind for kind in OPERATIONS if kind not in ("stock", *EDITS)])
@few
@given(data=st.data())
def test_a_total_is_the_rule_itself_with_events_of_different_streams_concurrent(kind: str, data: st.DataObject) -> None:
    crdt, operations = OPERATIONS[kind]
    ours, theirs = data.draw(histories(operations)), data.draw(histories(operations))
    theirs = [Op(op.operation, replace(op.tag, hlc=untied(op.tag.hlc))) for op in theirs]
    apart = [Op(op.operation, elsewhere(op.tag)) for op in theirs]
    cells = {"flight/1": fold(crdt, ours), "flight/2": fold(crdt, theirs)}
    assert crdt.total(cells) == crdt.value(fold(crdt, [*ours, *apart]))


def untied(hlc: Hlc) -> Hlc:
    return Hlc(hlc.ms, hlc.counter + 500)


def elsewhere(tag: Tag) -> Tag:
    observed = VersionVector({f"{region}0": sequence for region, sequence in tag.observed.items()})
    return replace(tag, region=f"{tag.region}0", observed=observed)


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


def unseen(op: Op, others: Iterable[Op]) -> bool:
    return not any(other.knows(op) for other in others)


def of_kind(history: Sequence[Op], kind: type[Any]) -> list[Op]:
    return [op for op in history if isinstance(op.operation, kind)]


def shown(kind: str, history: Sequence[Op]) -> Any:
    crdt = OPERATIONS[kind][0]
    return crdt.value(crdt.compact(fold(crdt, history), vector_of(history)))


def final_state(kind: str, history: Sequence[Op]) -> Any:
    crdt = OPERATIONS[kind][0]
    return crdt.compact(fold(crdt, history), vector_of(history))


@laws
@given(histories(OPERATIONS["multi-value register"][1]))
def test_a_multi_value_register_holds_what_no_other_assignment_knew(history: list[Op]) -> None:
    assert shown("multi-value register", history) == sorted({op.operation.value for op in history if unseen(op, history)})
    state = final_state("multi-value register", history)
    assert state["overwritten"] == {}
    assert len(state["values"]) <= len(REGIONS)


@laws
@given(histories(OPERATIONS["latest register"][1]))
def test_a_latest_register_holds_what_a_last_writer_wins_register_does(history: list[Op]) -> None:
    assert shown("latest register", history) == LwwRegister().value(fold(LwwRegister(), history))


@laws
@given(histories(OPERATIONS["grow-only counter"][1]))
def test_a_grow_only_counter_is_the_plain_sum(history: list[Op]) -> None:
    assert shown("grow-only counter", history) == sum(op.operation for op in history)


@laws
@given(histories(OPERATIONS["stock"][1]))
def test_a_stock_is_what_was_stocked_less_what_was_taken_and_rights_say_whose_it_is(history: list[Op]) -> None:
    rights: dict[str, int] = {}
    for op in history:
        n = op.operation.n
        rights[op.tag.region] = rights.get(op.tag.region, 0) + (n if isinstance(op.operation, Restock) else -n)
        if isinstance(op.operation, Transfer):
            rights[op.operation.to] = rights.get(op.operation.to, 0) + n
    taken = sum(op.operation.n for op in of_kind(history, Take))
    assert shown("stock", history) == {
        "available": max(sum(op.operation.n for op in of_kind(history, Restock)) - taken, 0),
        "rights": {region: max(n, 0) for region, n in rights.items()},
        "pending": {},  # all that a writer knew is here
        "overdrawn": {region: -n for region, n in rights.items() if n < 0},
    }
    assert final_state("stock", history)["awaited"] == {}


@laws
@given(histories(OPERATIONS["grow-only set"][1]))
def test_a_grow_only_set_holds_all_that_was_added(history: list[Op]) -> None:
    assert shown("grow-only set", history) == sorted({op.operation.element for op in history})


@laws
@given(histories(OPERATIONS["final set"][1]))
def test_a_final_set_holds_what_was_added_and_never_removed(history: list[Op]) -> None:
    added, removed = ({op.operation.element for op in of_kind(history, kind)} for kind in (Add, Remove))
    assert shown("final set", history) == sorted(added - removed)


@laws
@given(histories(OPERATIONS["remove-wins set"][1]))
def test_a_remove_wins_set_holds_what_was_added_and_of_which_some_add_knew_each_remove(history: list[Op]) -> None:
    adds, removes = of_kind(history, Add), of_kind(history, Remove)
    standing = {
        r.operation.element for r in removes if unseen(r, [a for a in adds if a.operation.element == r.operation.element])
    }
    assert shown("remove-wins set", history) == sorted({add.operation.element for add in adds} - standing)
    assert final_state("remove-wins set", history)["added"] == {}


def test_removes_that_each_side_alone_has_seen_cancelled_are_cancelled_when_they_meet() -> None:
    first, second = Op(Remove("EWR"), tagged("us-east-1", 1)), Op(Remove("EWR"), tagged("eu-west-1", 1))
    ours = [first, second, Op(Add("EWR"), tagged("eu-west-1", 2))]
    theirs = [first, second, Op(Add("EWR"), tagged("ap-south-1", 1, VersionVector({"us-east-1": 1})))]
    crdt = RemoveWinsSet()
    assert [crdt.value(fold(crdt, side)) for side in (ours, theirs)] == [[], []]
    merged = crdt.merge(fold(crdt, ours), vector_of(ours), fold(crdt, theirs), vector_of(theirs))
    assert crdt.value(merged) == crdt.value(fold(crdt, [*ours, theirs[2]])) == ["EWR"]


def tagged(region: str, sequence: int, observed: VersionVector = EMPTY) -> Tag:
    return Tag(region, sequence, Hlc(sequence, 0), observed)


@laws
@given(histories(OPERATIONS["enable-wins flag"][1]))
def test_flags_are_on_by_what_the_other_side_had_not_seen(history: list[Op]) -> None:
    enables, disables = [op for op in history if op.operation], [op for op in history if not op.operation]
    assert shown("enable-wins flag", history) == any(unseen(op, disables) for op in enables)
    assert shown("disable-wins flag", history) == (bool(enables) and not any(unseen(op, enables) for op in disables))
    assert final_state("enable-wins flag", history)["off"] == {}
    assert final_state("disable-wins flag", history)["on"] == {}


@laws
@given(histories(OPERATIONS["last-writer-wins map"][1]))
def test_a_last_writer_wins_map_holds_each_key_s_latest_put_unless_a_remove_is_later(history: list[Op]) -> None:
    last: dict[str, Op] = {}
    for op in sorted(history, key=lambda op: (op.tag.hlc, op.tag.region, op.tag.sequence)):
        last[op.operation.key if isinstance(op.operation, Put) else op.operation.element] = op
    puts = {key: op.operation.value for key, op in last.items() if isinstance(op.operation, Put)}
    assert shown("last-writer-wins map", history) == puts


@laws
@given(histories(OPERATIONS["maximum"][1]), histories(OPERATIONS["minimum"][1]))
def test_a_maximum_and_a_minimum_are_those_of_all(numbers: list[Op], texts: list[Op]) -> None:
    assert shown("maximum", numbers) == max((op.operation for op in numbers), default=None)
    assert shown("minimum", texts) == min((op.operation for op in texts), default=None)


def contents(history: Sequence[Op], removes: Sequence[Op]) -> dict[str, tuple[list[Op], list[Op]]]:
    """Of each key in the map its updates that no remove knew, and all its updates, as operations of the nested type."""
    found: dict[str, tuple[list[Op], list[Op]]] = {}
    for op in of_kind(history, Update):
        live, every = found.setdefault(op.operation.key, ([], []))
        nested = Op(op.operation.operation, op.tag)
        every.append(nested)
        if unseen(op, [r for r in of_kind(history, Remove) if r.operation.element == op.operation.key] + [*removes]):
            live.append(nested)
    return {key: both for key, both in found.items() if both[0]}


def elements_of(live: Sequence[Op], every: Sequence[Op]) -> list[str]:
    return sorted(
        {
            add.operation.element
            for add in of_kind(live, Add)
            if unseen(add, [r for r in of_kind(every, Remove) if r.operation.element == add.operation.element])
        }
    )


@laws
@given(histories(OPERATIONS["map of sets"][1]))
def test_a_map_of_sets_holds_what_updates_that_no_remove_knew_have_added(history: list[Op]) -> None:
    assert shown("map of sets", history) == {key: elements_of(*both) for key, both in contents(history, []).items()}
    assert all(entry["updates"] for entry in final_state("map of sets", history)["keys"].values())
    assert final_state("map of sets", history)["removed"] == {}


@laws
@given(histories(OPERATIONS["map of multi-value registers"][1]))
def test_a_map_of_registers_holds_what_neither_a_remove_nor_an_assignment_knew(history: list[Op]) -> None:
    assert shown("map of multi-value registers", history) == {
        key: sorted({op.operation.value for op in live if unseen(op, every)})
        for key, (live, every) in contents(history, []).items()
    }
    assert shown("map of latest registers", history) == {
        key: max([op for op in live if unseen(op, every)], key=rank).operation.value
        for key, (live, every) in contents(history, []).items()
        if any(unseen(op, every) for op in live)  # or nobody has assigned what it would show
    }


@laws
@given(histories(OPERATIONS["map of flags"][1]))
def test_a_map_of_flags_is_on_where_an_enable_is_left(history: list[Op]) -> None:
    assert shown("map of flags", history) == {
        key: any(op.operation and unseen(op, [other for other in every if not other.operation]) for op in live)
        for key, (live, every) in contents(history, []).items()
    }


@laws
@given(histories(OPERATIONS["map of maps"][1]))
def test_a_map_of_maps_loses_inside_what_a_remove_outside_knew(history: list[Op]) -> None:
    expected = {}
    for key, (_, every) in contents(history, []).items():
        outer = [r for r in of_kind(history, Remove) if r.operation.element == key]
        expected[key] = {inner: elements_of(*both) for inner, both in contents(every, outer).items()}
    assert shown("map of maps", history) == expected


@pytest.mark.parametrize("kind", EDITS)
@laws
@given(data=st.data())
def test_a_document_is_what_its_editors_ended_with_however_their_updates_lie_in_the_lanes(
    kind: str, data: st.DataObject
) -> None:
    updates, ended = EDITS[kind]
    history = []
    for n, update in enumerate(data.draw(st.permutations(updates)), 1):
        history.append(Op(update, Tag(data.draw(st.sampled_from(REGIONS)), n, Hlc(n, 0), EMPTY)))
    value = shown(kind, history)
    assert (value if kind == "list" else "".join(run["insert"] for run in value)) == ended
    crdt = OPERATIONS[kind][0]
    assert crdt.total({"flight/1": fold(crdt, history)}) == {"flight/1": value}


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
        (LwwRegister(), Assign(7, 2**53), "9007199254740992"),
        (LwwRegister(), Assign(7, "\ud800"), "ud800"),
        (LwwRegister(), Assign({1}), "set"),
        (LwwRegister(), Assign(float("nan")), "nan"),
        (OrSet(), Add("\ud800"), "ud800"),
        (PnCounter(), 2**53, "9007199254740992"),
        (PnCounter(), -(2**53), "-9007199254740992"),
        (MvRegister(), 7, "Assign"),
        (MvRegister(), Assign(7, 1), "at=1"),
        (MvRegister(), Assign({1}), "set"),
        (LatestRegister(), Assign(2**53), "9007199254740992"),
        (GCounter(), -1, "whole numbers from 0 to 2.53 - 1, not -1"),
        (GCounter(), 1.0, "not 1.0"),
        (GCounter(), False, "not False"),
        (GCounter(), 2**53, "not 9007199254740992"),
        (BoundedCounter(), 5, "Restock.*not 5"),
        (BoundedCounter(), Take(-1), "not -1"),
        (BoundedCounter(), Restock(True), "not True"),
        (BoundedCounter(), Take(0.5), "not 0.5"),  # type: ignore[arg-type]
        (BoundedCounter(), Transfer(1, "us-east-1"), "to 'us-east-1'"),
        (BoundedCounter(), Transfer(1, "no#region"), "no#region"),
        (BoundedCounter(), Transfer(1, 7), "7"),  # type: ignore[arg-type]
        (GSet(), Remove("EWR"), "Remove"),
        (GSet(), Add(None), "None"),  # type: ignore[arg-type]
        (TwoPhaseSet(), "EWR", "'EWR'"),
        (RemoveWinsSet(), Add(7), "7"),  # type: ignore[arg-type]
        (EnableWinsFlag(), 1, "True or False, not 1"),
        (DisableWinsFlag(), "on", "True or False, not 'on'"),
        (LwwMap(), ("gate", 1), "gate"),
        (LwwMap(), Put(1, 2), "key=1"),  # type: ignore[arg-type]
        (LwwMap(), Put("gate", {1}), "set"),
        (LwwMap(), Remove("\ud800"), "ud800"),
        (OrMap(OrSet()), Add("EWR"), "Update.*EWR"),
        (OrMap(OrSet()), Update(1, Add("EWR")), "key=1"),  # type: ignore[arg-type]
        (OrMap(OrSet()), Update("gate", "EWR"), "Add.*'EWR'"),
        (OrMap(OrSet()), Remove(1), "1"),  # type: ignore[arg-type]
        (MaxRegister(), "7", "integers.*'7'"),
        (MaxRegister(), True, "True"),
        (MaxRegister(), 2**53, "9007199254740992"),
        (MinRegister("string"), 7, "strings, not 7"),
        (MinRegister("string"), "\ud800", "ud800"),
    ],
)
def test_what_a_type_cannot_take_is_refused_with_the_value(crdt: Crdt, operation: Any, named: str) -> None:
    with pytest.raises(InvalidOperation, match=named):
        crdt.apply(crdt.initial(), operation, Tag("us-east-1", 1, ZERO, EMPTY))


@pytest.mark.parametrize(
    ("crdt", "operation"),
    [
        (PnCounter(), 2**52),
        (PnCounter(), -(2**52)),
        (GCounter(), 2**52),
        (BoundedCounter(), Restock(2**52)),
        (BoundedCounter(), Take(2**52)),
        (BoundedCounter(), Transfer(2**52, "eu-west-1")),
    ],
)
def test_a_sum_that_json_cannot_hold_is_refused_at_the_operation_that_would_pass_it(crdt: Crdt, operation: Any) -> None:
    state = crdt.apply(crdt.initial(), operation, Tag("us-east-1", 1, ZERO, EMPTY))
    before = text(crdt, state)
    with pytest.raises(InvalidOperation, match="us-east-1 would pass"):
        crdt.apply(state, operation, Tag("us-east-1", 2, ZERO, EMPTY))
    assert text(crdt, state) == before


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 0


@pytest.mark.parametrize(
    ("crdt", "operation", "deepest"),
    [
        (LwwRegister(), Assign, 29),
        (MvRegister(), Assign, 27),
        (LwwMap(), lambda value: Put("gate", value), 28),
        (OrMap(MvRegister()), lambda value: Update("gate", Assign(value)), 24),
        (OrMap(OrMap(LatestRegister())), lambda value: Update("gate", Update("crew", Assign(value))), 21),
    ],
)
def test_a_value_may_be_as_deep_as_the_view_can_hold_and_no_deeper(crdt: Crdt, operation: Any, deepest: int) -> None:
    tag = Tag("us-east-1", 1, ZERO, EMPTY)
    encode_json({"field": crdt.apply(crdt.initial(), operation(nested(deepest)), tag)})
    with pytest.raises(InvalidOperation, match="deeper than 32"):
        crdt.apply(crdt.initial(), operation(nested(deepest + 1)), tag)


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


HUGE = 10**5000


@pytest.mark.parametrize(
    ("crdt", "operation"),
    [
        (LwwRegister(), HUGE),
        (LwwRegister(), Assign(1, [HUGE])),  # type: ignore[arg-type]
        (MvRegister(), HUGE),
        (OrSet(), Add(HUGE)),  # type: ignore[arg-type]
        (RemoveWinsSet(), Add(HUGE)),  # type: ignore[arg-type]
        (TwoPhaseSet(), Remove(HUGE)),  # type: ignore[arg-type]
        (GSet(), Add(HUGE)),  # type: ignore[arg-type]
        (EnableWinsFlag(), HUGE),
        (DisableWinsFlag(), HUGE),
        (LwwMap(), HUGE),
        (OrMap(OrSet()), HUGE),
        (BoundedCounter(), HUGE),
        (BoundedCounter(), Take(HUGE)),
        (GCounter(), HUGE),
        (PnCounter(), HUGE),
    ],
    ids=lambda given: type(given).__name__,
)
def test_integers_too_long_to_print_are_refused_like_others(crdt: Any, operation: Any) -> None:
    with pytest.raises(InvalidOperation, match="an integer of thousands of digits"):
        crdt.apply(crdt.initial(), operation, Tag("us-east-1", 1, Hlc(1, 0), VersionVector()))
