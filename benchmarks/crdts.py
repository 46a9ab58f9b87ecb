"""Cost of an event for each conflict-free type: `python -m benchmarks.crdts`. CPU, one core, no storage.

Three regions take turns, each has observed all before it; sets and maps have 100 elements or keys in play. A list gets one
more element an event and a text 10 more characters, at random places, 198 times.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from projectors.crdt import (
    Add,
    Assign,
    BoundedCounter,
    Crdt,
    DisableWinsFlag,
    EnableWinsFlag,
    GCounter,
    GSet,
    LatestRegister,
    LwwMap,
    LwwRegister,
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
    Sequence,
    Tag,
    Take,
    Transfer,
    TwoPhaseSet,
    Update,
)
from projectors.crdt.yjs import YjsDocument
from replicator.domain.canonical import encode_json
from replicator.domain.clock import Hlc
from replicator.domain.vector import EMPTY

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")
EVENTS, EDITS, ROUNDS = 1998, 198, 5
chance = random.Random(1)


def name() -> str:
    return f"element {chance.randrange(100)}"


def changed() -> Any:
    return Add(name()) if chance.random() < 0.7 else Remove(name())


def moved() -> Any:
    return chance.choice([Restock(5), Take(1), Transfer(1, "sa-east-1")])


def mapped(nested: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: Update(name(), nested()) if chance.random() < 0.9 else Remove(name())


WORK: list[tuple[str, Crdt, Callable[[], Any]]] = [
    ("register", LwwRegister(), lambda: Assign(chance.randrange(100))),
    ("multi_register", MvRegister(), lambda: Assign(chance.randrange(100))),
    ("maximum", MaxRegister(), lambda: chance.randrange(100)),
    ("minimum", MinRegister(), lambda: chance.randrange(100)),
    ("counter", PnCounter(), lambda: chance.randrange(-9, 10)),
    ("grow_counter", GCounter(), lambda: chance.randrange(9)),
    ("stock", BoundedCounter(), moved),
    ("collection", OrSet(), changed),
    ("remove_wins_set", RemoveWinsSet(), changed),
    ("final_set", TwoPhaseSet(), changed),
    ("grow_set", GSet(), lambda: Add(name())),
    ("flag", EnableWinsFlag(), lambda: chance.random() < 0.5),
    ('flag("disable")', DisableWinsFlag(), lambda: chance.random() < 0.5),
    ("lww_map", LwwMap(), lambda: Put(name(), 1) if chance.random() < 0.7 else Remove(name())),
    ("or_map(OrSet())", OrMap(OrSet()), mapped(lambda: Add(chance.choice("abc")))),
    ("or_map(LatestRegister())", OrMap(LatestRegister()), mapped(lambda: Assign(1))),
    ("sequence", Sequence(), lambda: None),
    ("rich_text", RichText(), lambda: None),
]


def operations(crdt: Crdt, make: Callable[[], Any]) -> list[Any]:
    if not isinstance(crdt, YjsDocument):
        return [make() for _ in range(EVENTS)]
    draft, made = crdt.draft(), []
    for _ in range(EDITS):
        draft.content.insert(chance.randrange(len(draft.content) + 1), "ten chars.")
        made.append(draft.update())
    return made


def history(made: list[Any]) -> list[tuple[Any, Tag]]:
    seen, tagged = EMPTY, []
    for n, operation in enumerate(made):
        region, sequence = REGIONS[n % 3], n // 3 + 1
        tagged.append((operation, Tag(region, sequence, Hlc(n + 1, 0), seen)))
        seen = seen.advance(region, sequence)
    return tagged


def measured(crdt: Crdt, make: Callable[[], Any]) -> tuple[float, float, int]:
    """Return the microseconds of applying an event and of making a view (compact state and value), and the state's bytes."""
    made, applied, shown = history(operations(crdt, make)), [], []
    _, last = made[-1]
    for _ in range(ROUNDS):
        state, started = crdt.initial(), time.process_time()
        for operation, tag in made:
            state = crdt.apply(state, operation, tag)
        applied.append((time.process_time() - started) / len(made) * 1e6)
        seen = last.context.advance(last.region, last.sequence)
        state, started = crdt.compact(state, seen), time.process_time()
        for _ in range(100):
            crdt.value(crdt.compact(state, seen))
        shown.append((time.process_time() - started) / 100 * 1e6)
    return statistics.median(applied), statistics.median(shown), len(encode_json({"state": state}))


def main() -> None:
    out = Console(width=100)
    table = Table(title=f"medians of {ROUNDS} rounds", title_justify="left")
    table.add_column("field")
    for column in ("CPU us/event", "CPU us/view", "state, bytes"):
        table.add_column(column, justify="right")
    for field, crdt, make in WORK:
        apply, value, size = measured(crdt, make)
        table.add_row(field, f"{apply:,.1f}", f"{value:,.1f}", f"{size:,}")
    out.print(table)


if __name__ == "__main__":
    main()
