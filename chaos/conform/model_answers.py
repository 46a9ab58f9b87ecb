"""Models held to the same probes: the simulator's stream and tables, and the fleet's metered table and mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from chaos.conform import run_probes
from chaos.conform.model_probes import AREA
from chaos.conform.probe import Probe
from chaos.fleet.event_source_mapping import HOME, Load, Sandbox, begun
from chaos.fleet.event_source_mapping import Mapping as FleetMapping
from chaos.fleet.metered_table import MeteredTable
from chaos.fleet.partitions import BURST_SECONDS, Partitions
from chaos.fleet.virtual_time import VirtualTime
from chaos.simulator.stores import Control, Table
from chaos.simulator.stream import ITERATOR_SECONDS, KEPT_SECONDS, TableStream
from replicator.aws.clients import error_code
from replicator.control.control_storage import Guard
from replicator.control.memory_control import MemoryControl
from replicator.domain.clock import Hlc
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert
from replicator.eventstore.store_errors import GuardBusy, GuardFailed, LaneTaken

MODELS = {
    "simulator": "`chaos/simulator`: `TableStream`, `Table`, and the store in memory beneath",
    "fleet": "`chaos/fleet`: `MeteredTable`, `Partitions`, `Mapping`",
}
PROBES: Mapping[str, Probe] = {**run_probes.PROBES, **{probe.name: probe for probe in AREA}}
"""Probes of endpoints and of models, by name."""
_GUARD = Guard("fence", "us-east-1", {"open": True})


def event(name: str, sequence: int = 1, prev: Event | None = None, text: str = "a", size: int = 0) -> Event:
    """Return an event of a lane of its own, or behind `prev`."""
    lane = LaneId(HOME, StreamId("account", name))
    new = NewEvent("posted", {"text": text, "more": "x" * size})
    digest = prev.digest if prev is not None else GENESIS
    return seal(lane, sequence, Hlc(1_700_000_000_000 + sequence, 0), new, EMPTY, digest)


def chain(name: str, count: int, size: int = 0) -> list[Event]:
    """Return the first events of a lane."""
    found: list[Event] = []
    for sequence in range(1, count + 1):
        found.append(event(name, sequence, found[-1] if found else None, size=size))
    return found


def code(call: Callable[[], object]) -> str:
    """Return `accepted`, or the error code that stands for the error."""
    try:
        call()
    except ClientError as error:
        return error_code(error)
    except LaneTaken:
        return "DuplicateItemException"
    return "accepted"


@dataclass
class _Region:
    """Table of the simulator with its stream, and a clock that is moved by hand."""

    at: float = 1_000_000.0
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = TableStream("arn", lambda: self.at, lambda: True)
        self.control = Control("control")
        self.table = Table("events", self.control, self.stream.add, lambda *what: self.broken.append(str(what)))

    def read(self, shard: str = "shard-0001", kind: str = "TRIM_HORIZON", number: str = "", limit: int = 1000) -> list[Any]:
        iterator = self.stream.get_shard_iterator("arn", shard, kind, number)["ShardIterator"]
        records: list[Any] = self.stream.get_records(iterator, limit)["Records"]
        return records

    def numbers(self) -> list[str]:
        return [each["dynamodb"]["SequenceNumber"] for each in self.read()]


def _sequences(records: Sequence[Any]) -> str:
    return ", ".join(str(int(each["dynamodb"]["Keys"]["sk"]["S"]) - 1) for each in records)


def _simulator() -> dict[str, str]:
    return {**_simulated_table(), **_simulated_stream(), **_simulated_shards()}


def _text(region: _Region, name: str) -> str:
    return ", ".join(str(each.payload["text"]) for each in region.table.read(LaneId(HOME, StreamId("account", name))))


def _simulated_table() -> dict[str, str]:
    one = _Region()
    first, other = event("a", text="first"), event("a", text="other")
    one.table.insert([first])
    taken = code(lambda: one.table.insert([other]))
    batch = one.table.insert_each([event("b"), other, event("c")])
    words = {Insert.ADDED: "written", Insert.TAKEN: "refused", Insert.NOT_NOW: "lost"}
    cancelled = _Region()
    cancelled.table.insert([first])
    with suppress(LaneTaken):
        cancelled.table.insert([event("d"), other, event("e")])
    left = [lane for lane in cancelled.table.lanes_held if cancelled.table.lanes_held[lane]]
    guards = {}
    for name, held in (("met", {"open": True}), ("unmet", {"open": False}), ("absent", None)):
        region = _Region()
        if held is not None:
            region.control.put("fence", {"us-east-1": held})
        with suppress(GuardFailed):
            region.table.insert([event("g")], [_GUARD])
        guards[f"exists-{name}"] = _text(region, "g") or "nothing"
    recreated = Table("two", one.control, one.stream.add, print)
    order = _Region()
    order.table.insert(chain("o", 10))
    found = [each.sequence for each in order.table.read(LaneId(HOME, StreamId("account", "o")))]
    return {
        "insert-taken": taken,
        "insert-taken-keeps": _text(one, "a"),
        "batch-others-written": ", ".join(words[each] for each in batch),
        "transaction-atomic": "first" if len(left) == 1 and _text(cancelled, "a") == "first" else "more",
        "query-order": "ascending" if found == sorted(found) else "another order",
        "table-recreated": "the same" if recreated.identity() == one.table.identity() else "another",
        **guards,
    }


def _simulated_stream() -> dict[str, str]:
    region = _Region()
    events = chain("a", 20)
    region.table.insert(events)
    with suppress(LaneTaken):
        region.table.insert([event("a", 20, events[18], text="other")])
    records = region.read()
    numbers = [int(each) for each in region.numbers()]
    values = [int(each["dynamodb"]["Keys"]["sk"]["S"]) - 1 for each in records]
    three = _Region()
    three.table.insert(chain("b", 3))
    one, two, _ = three.numbers()
    latest = three.stream.get_shard_iterator("arn", "shard-0001", "LATEST")["ShardIterator"]
    end = three.stream.get_records(latest).get("NextShardIterator")
    three.table.insert([event("b", 4, chain("b", 3)[-1])])
    again = three.stream.get_shard_iterator("arn", "shard-0001", "TRIM_HORIZON")["ShardIterator"]
    pages = [_sequences(three.stream.get_records(again)["Records"][:3]) for _ in range(2)]
    return {
        "stream-insert": records[0]["eventName"],
        "stream-refused-put": "INSERT" if len(records) == 20 else "INSERT, MODIFY",
        "stream-order": f"0 to 19 {'in order' if values == list(range(20)) else 'in disorder'}",
        "stream-once": f"{len(records)} records",
        "stream-numbers": "rising" if numbers == sorted(set(numbers)) else "not rising",
        "stream-keys": ", ".join(sorted(records[0]["dynamodb"]["Keys"])),
        "stream-new-image": "others" if "OldImage" in records[0]["dynamodb"] else "new only",
        "iterator-after": _sequences(three.read(kind="AFTER_SEQUENCE_NUMBER", number=one)[:2]),
        "iterator-at": _sequences(three.read(kind="AT_SEQUENCE_NUMBER", number=two)[:2]),
        "iterator-trim-horizon": _sequences(three.read()[:3]),
        "iterator-latest": _sequences(three.stream.get_records(latest)["Records"]),
        "iterator-next": "there is a next one" if end else "none",
        "iterator-again": f"{pages[0]} {'twice' if pages[0] == pages[1] else 'once'}",
        "iterator-limit": f"{len(three.read(limit=1))} record",
        "iterator-below": code(lambda: three.read(kind="AFTER_SEQUENCE_NUMBER", number="0" * 21)),
        "iterator-beyond": code(lambda: three.read(kind="AFTER_SEQUENCE_NUMBER", number="9" * 21)),
        "iterator-without-shard": code(lambda: three.read(shard="shard-9999")),
        "stream-absent": code(lambda: three.stream.describe_stream("another")),
    }


def _holds(records: Sequence[Any], lane: str) -> bool:
    return any(str(each["dynamodb"]["Keys"]["pk"]["S"]).endswith(lane) for each in records)


def _simulated_shards() -> dict[str, str]:
    region = _Region()
    old = chain("a", 2)
    region.table.insert(old)
    number = region.numbers()[0]
    iterator = region.stream.get_shard_iterator("arn", "shard-0001", "TRIM_HORIZON")["ShardIterator"]
    region.at += ITERATOR_SECONDS + 60
    expired = code(lambda: region.stream.get_records(iterator))
    region.stream.split(0, 2)
    region.table.insert([event("a", 3, old[-1]), event("z")])
    closed = region.stream.get_shard_iterator("arn", "shard-0001", "TRIM_HORIZON")["ShardIterator"]
    shards = region.stream.describe_stream("arn")["StreamDescription"]["Shards"]
    having = [name for each in shards if _holds(region.read(name := each["ShardId"]), "#a")]
    lineage = len(having) == 2 and {each.get("ParentShardId") for each in shards if each["ShardId"] in having} >= {having[0]}
    parents = {each["ParentShardId"] for each in shards if each["ShardId"] != "shard-0001"}
    ends = "NextShardIterator" not in region.stream.get_records(closed)
    fresh = _Region()
    fresh.table.insert(chain("b", 1))
    first = fresh.numbers()[0]
    fresh.at += KEPT_SECONDS - 3600
    fresh.table.insert([event("c")])
    fresh.at += 2 * 3600
    fresh.stream.trim()
    left = [each["dynamodb"]["Keys"]["pk"]["S"] for each in fresh.read()]
    return {
        "iterator-expires": expired,
        "shard-closed": "it ends" if ends and number else "it does not end",
        "shard-child": "its parent" if parents == {"shard-0001"} else "none",
        "shard-count": "several shards" if len(shards) > 1 else "one shard",
        "shard-of-partition": "one shard or its children" if lineage else "several shards",
        "stream-trimmed": "those of the last 24 hours" if len(left) == 1 and left[0].endswith("#c") else "others",
        "iterator-trimmed": code(lambda: fresh.read(kind="AFTER_SEQUENCE_NUMBER", number=first)),
    }


# -- the fleet ----------------------------------------------------------------------------------------------------


def _timed(work: Callable[[VirtualTime], str]) -> str:
    """Run some work in virtual time; return its result."""
    time, found = VirtualTime(), list[str]()
    time.spawn(lambda: found.append(work(time)))
    time.run()
    return found[0]


def _metered(time: VirtualTime, **limits: Partitions) -> MeteredTable:
    control = MemoryControl()
    control.put("fence", {"us-east-1": {"open": True}})
    return MeteredTable(MemoryStorage(control), time, 0.01, **limits)


def _written(*events: Event, guards: Sequence[Guard] = (), each: bool = False, held: Sequence[Event] = ()) -> str:
    """Return the write units of a write; `held` were written before, at no cost."""

    def work(time: VirtualTime) -> str:
        table = _metered(time)
        table.table.insert_each(held)
        if each:
            table.insert_each(events)
        else:
            table.insert(events, guards)
        return f"{table.bill.write_units:g}"

    return _timed(work)


def _read(act: Callable[[MeteredTable], object], *held: Event) -> str:
    def work(time: VirtualTime) -> str:
        table = _metered(time)
        table.table.insert_each(held)
        act(table)
        return f"{table.bill.read_units:g}"

    return _timed(work)


def _fleet() -> dict[str, str]:
    return {**_metered_units(), **_limited(), **_mapped()}


def _metered_units() -> dict[str, str]:
    lane, large = chain("a", 3), chain("b", 2, 1000)
    three, nine = [chain(name, 1)[0] for name in "xyz"], chain("q", 3, 2600)
    two = [chain(name, 2) for name in "mn"]
    positions = [(each.lane, 1) for each in three]
    one = [(lane[0].lane, 1)]
    return {
        "units-of-put": _written(lane[1], held=lane[:1]),
        "units-of-larger-put": _written(large[1], held=large[:1]),
        "units-of-indexed-put": _written(lane[0]),
        "units-of-insert": _written(lane[1], held=lane[:1]),
        "units-of-insert-batch": _written(lane[1], two[0][1], two[1][1], each=True, held=[lane[0], two[0][0], two[1][0]]),
        "units-of-insert-transaction": _written(two[0][1], two[1][1], held=[two[0][0], two[1][0]]),
        "units-of-guarded-insert": _written(lane[1], guards=[_GUARD], held=lane[:1]),
        "units-of-get": _read(lambda table: table.get(one), lane[0]),
        "units-of-eventual-get": _read(lambda table: table.get(one, consistent=False), lane[0]),
        "units-of-absent-get": _read(lambda table: table.get(one)),
        "units-of-batch-get": _read(lambda table: table.get(positions), *three),
        "units-of-absent-batch-get": _read(lambda table: table.get(positions)),
        "units-of-query": _read(lambda table: list(table.read(nine[0].lane)), *nine),
        "insert-taken": _timed(lambda time: _again(_metered(time))),
    }


def _again(table: MeteredTable) -> str:
    table.insert([event("t", text="first")])
    return code(lambda: table.insert([event("t", text="other")]))


def _limited() -> dict[str, str]:
    def writes(time: VirtualTime) -> str:
        limits = Partitions(time.now, 1, 0.0)
        return str(sum(limits.write(("a", str(n)), 1) for n in range(2000)))

    def burst(time: VirtualTime) -> str:
        limits = Partitions(time.now, 1, BURST_SECONDS)
        time.sleep(10_000)
        return f"{sum(limits.write(('a', 'b'), 1000) for _ in range(2000)) - 1}"

    def index(time: VirtualTime) -> str:
        full = Partitions(lambda: 0.0, 1, 0.0)
        full.write(("a", "b"), 1000)
        table = _metered(time, partitions=Partitions(time.now), index=full)
        try:
            table.insert_each([event("i")])
        except RegionUnavailable:
            return "throttled"
        return "written"

    def conflict(time: VirtualTime) -> str:
        limits = Partitions(time.now)
        limits.begin([(event("c").lane.key, "0" * 20), (event("c").lane.key, _sort_key(event("c")))])
        table = _metered(time, partitions=limits)
        try:
            table.insert([event("c")])
        except (RegionUnavailable, GuardBusy):
            return "refused"
        return "written"

    return {
        "partition-writes": _timed(writes),
        "partition-burst": _timed(burst),
        "index-throttles": _timed(index),
        "transaction-conflict": _timed(conflict),
    }


def _sort_key(one: Event) -> str:
    from replicator.domain.names import sequence_key

    return sequence_key(one.sequence)


@dataclass
class _Mapped:
    """Batches of a mapping, and how many were at work at a time."""

    load: Load
    fails: Callable[[Sequence[Event], Counter[Any]], Sequence[Event]] = lambda events, seen: ()
    batches: list[list[Event]] = field(default_factory=list)
    most: int = 0

    def run(self) -> _Mapped:
        time, seen, home = VirtualTime(), Counter[Any](), MemoryStorage(MemoryControl())
        home.insert_each(begun(self.load.lanes))
        at_work = Counter[str]()

        def sandbox(events: Sequence[Event]) -> Sequence[Event]:
            self.batches.append(list(events))
            seen.update(each.id for each in events)
            at_work["all"] += 1
            self.most = max(self.most, at_work["all"])
            time.sleep(0.05)
            at_work["all"] -= 1
            return self.fails(events, seen)

        def start() -> Sandbox:
            return sandbox

        FleetMapping(self.load, time, start).run(home)
        return self


def _mapped() -> dict[str, str]:
    plain = _Mapped(Load(1, 30, shards=1, batch=5)).run()
    order = [each.sequence for batch in plain.batches for each in batch]
    second = _Mapped(
        Load(1, 10, shards=1, batch=10, rate=100_000),
        lambda events, seen: [each for each in events if each.sequence == 4 and seen[each.id] == 1],
    ).run()
    failed = next((batch for batch in second.batches if any(each.sequence == 4 for each in batch)), [])
    expected = [each.sequence for each in failed if each.sequence >= 4]
    came = [each.sequence for each in second.batches[second.batches.index(failed) + 1]]
    split = _Mapped(Load(1, 200, shards=1, parallelization=2, batch=5)).run()
    flat = [each.sequence for batch in split.batches for each in batch]
    return {
        "mapping-delivers": "1, 2, 3" if order == sorted(order) and len(order) == 30 else "in disorder",
        "mapping-item-failures": "from the failed one on" if came == expected else "the failed one alone",
        "one-batch-a-shard": str(plain.most),
        "factor-order": "of each item, not of each partition" if flat != sorted(flat) else "of each partition",
    }


def observe_models() -> dict[str, dict[str, str]]:
    """Return what each model answers, by model and probe."""
    return {"simulator": _simulator(), "fleet": _fleet()}
