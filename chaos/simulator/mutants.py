"""Planted bugs: small changes of the real core, each a mistake that a programmer might have made. A test of the simulator
plants one, and checks that a seed finds it.

Some defences are doubled (a counter skips what it has counted already, and so does the view's vector): then both are
removed, as one alone breaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from projectors.crdt import Assign, LwwRegister, OrSet, PnCounter, Remove
from projectors.engine import engine
from projectors.engine.folding import Wanted, fold_lanes
from projectors.engine.memory_sink import MemorySink
from replicator.aws import redrive
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.redrive import Redrive
from replicator.aws.shards import Shard
from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import TableBacklog
from replicator.domain.clock import ZERO, HybridLogicalClock
from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.domain.event import Event, Head
from replicator.eventstore.appender import Appender
from replicator.eventstore.storage import Insert
from replicator.eventstore.store_errors import OutcomeUnknown
from replicator.eventstore.stream_reader import StreamReader
from replicator.fencing.fence import Fence
from replicator.ops.runbooks import Failback
from replicator.replication import copier, invocation, link, worker
from replicator.replication.copy_plan import Plan, plan
from replicator.replication.lambda_batches import Answer, item_failures
from replicator.replication.stream_records import position, read_records

Plant = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """Planted bug. At least one of `seeds` finds it, and it breaks at least one of the promises `breaks`."""

    name: str
    does: str
    breaks: frozenset[str]
    seeds: range
    plant: Plant


MUTANTS: dict[str, Mutant] = {}
"""Planted bugs by name."""


def check_plant(name: str | None) -> None:
    """Raise InvalidConfig unless it is the name of a planted bug, or None."""
    if name is not None and name not in MUTANTS:
        raise InvalidConfig(f"--plant {name!r} is unknown; choose one that `chaos simulate --plant list` names")


def planted(name: str | None) -> AbstractContextManager[object]:
    """Plant this bug in the core while the context is open (None: none). One at a time in a process. Raises
    InvalidConfig."""
    check_plant(name)
    return ExitStack() if name is None else MUTANTS[name].plant()


def _mutant(does: str, breaks: str, seeds: range) -> Callable[[Callable[[], Iterator[None]]], Plant]:
    def register(function: Callable[[], Iterator[None]]) -> Plant:
        name = function.__name__.strip("_").replace("_", "-")
        plant = contextmanager(function)
        MUTANTS[name] = Mutant(name, does, frozenset(breaks.split()), seeds, plant)
        return plant

    return register


@contextmanager
def _instead(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# -- reading a stream --------------------------------------------------------------------------------------------------


@_mutant("the replicator drops an event now and then", "lost", range(21, 28))
def _drops_events() -> Iterator[None]:
    def some(records: Any, region: str | None = None) -> Any:
        events, refused = read_records(records, region)
        return [event for event in events if event.digest[0] > 40], refused

    with _instead(worker, "read_records", some):
        yield


@_mutant(
    "a batch is checkpointed before it is copied, and a killed replicator does not read it again", "lost", range(21, 46, 24)
)
def _checkpoints_first() -> Iterator[None]:
    commit = worker.Replicator._commit

    def early(self: worker.Replicator) -> None:
        for ticket in self._tickets:
            ticket.waiting = 0
        commit(self)

    with _instead(worker.Replicator, "_commit", early):
        yield


@_mutant("an expired iterator is replaced by one at the stream's end", "lost views_complete", range(1, 9))
def _expired_to_latest() -> Iterator[None]:
    failed = DynamoStreamReader._failed

    def latest(self: DynamoStreamReader, name: str, shard: Shard, error: RegionRefuses) -> object:
        batch = failed(self, name, shard, error)
        if error.code == "ExpiredIteratorException":
            found = self.client.get_shard_iterator(StreamArn=self.stream_arn, ShardId=name, ShardIteratorType="LATEST")
            shard.iterator = found["ShardIterator"]
        return batch

    with _instead(DynamoStreamReader, "_failed", latest):
        yield


@_mutant("records that the stream has trimmed are skipped: lanes are not compared", "lost", range(25, 40))
def _trimmed_ignored() -> Iterator[None]:
    with _instead(worker.Replicator, "_reconcile", lambda self: None):
        yield


@_mutant("an empty page is treated as the end of a shard", "lost views_complete", range(1, 9))
def _empty_is_the_end() -> Iterator[None]:
    page = DynamoStreamReader._page

    def ended(self: DynamoStreamReader, iterator: str) -> object:
        found = page(self, iterator)
        return found if found["Records"] else {"Records": []}

    with _instead(DynamoStreamReader, "_page", ended):
        yield


# -- copying -----------------------------------------------------------------------------------------------------------


@_mutant("copies are copied again: a region ships the lanes of others", "loop", range(1, 9))
def _ships_copies() -> Iterator[None]:
    with _instead(worker, "read_records", lambda records, region=None: read_records(records)):
        yield


@_mutant("the ends of a peer's lanes are kept after the peer was emptied", "gap gaps", range(9, 17))
def _heads_remembered() -> Iterator[None]:
    with _instead(copier.Copier, "know_peer", lambda self: None):
        yield


@_mutant("a peer whose table was replaced gets only new events", "lost", range(735, 736))
def _replaced_unseen() -> Iterator[None]:
    with _instead(link.Link, "_meet", lambda self: None):
        yield


@_mutant("an event that leaves a gap at the peer is written behind it", "gap gaps", range(1, 9))
def _gaps_jumped() -> Iterator[None]:
    def over(head: Head, events: Sequence[Event]) -> Plan:
        placed = plan(head, events)
        if placed.missing is not None:
            held = {event.sequence: event for event in events if event.sequence > placed.missing[1]}
            placed.insert += [held[sequence] for sequence in sorted(held)]
        return replace(placed, missing=None)

    with _instead(copier, "plan", over):
        yield


@_mutant("events that cannot be copied now are not put on the backlog", "lost", range(1, 9))
def _pointers_dropped() -> Iterator[None]:
    with _instead(TableBacklog, "defer", lambda self, *_: None):
        yield


@_mutant("a write that the peer throttled is treated as done", "lost gap gaps", range(25, 39))
def _throttled_is_done() -> Iterator[None]:
    class Blind:
        ADDED, TAKEN, NOT_NOW = Insert.ADDED, Insert.TAKEN, None

    with _instead(copier, "Insert", Blind):
        yield


# -- appending ---------------------------------------------------------------------------------------------------------


def _after_unknown(then: Callable[[OutcomeUnknown], Exception]) -> Callable[..., None]:
    insert = Appender._insert

    def told(self: Appender, events: Any, *rest: Any) -> None:
        try:
            insert(self, events, *rest)
        except OutcomeUnknown as error:
            raise then(error) from None

    return told


@_mutant("a write without an answer is reported as failed", "from_nowhere", range(1, 9))
def _unknown_is_failed() -> Iterator[None]:
    with _instead(Appender, "_insert", _after_unknown(lambda error: RegionUnavailable(str(error)))):
        yield


@_mutant("a write without an answer is repeated as a new one", "duplicated from_nowhere", range(2, 10))
def _unknown_is_repeated() -> Iterator[None]:
    from replicator.eventstore.store_errors import LaneTaken

    with _instead(Appender, "_insert", _after_unknown(lambda error: LaneTaken(error.events))):
        yield


@_mutant("the outcome of a write is read, but not made certain: it may land later", "from_nowhere", range(1, 9))
def _settles_by_a_look() -> Iterator[None]:
    def look(self: Appender, events: Sequence[Event]) -> bool:
        return len(self._storage.get([(event.lane, event.sequence) for event in events])) == len(events)

    with _instead(Appender, "resolve", look):
        yield


@_mutant("a transaction is written lane by lane", "torn duplicated from_nowhere", range(1, 9))
def _torn_transactions() -> Iterator[None]:
    insert = Appender._insert

    def parts(self: Appender, events: Any, *rest: Any) -> None:
        for lane in dict.fromkeys(event.lane for event in events):
            insert(self, tuple(event for event in events if event.lane == lane), *rest)

    with _instead(Appender, "_insert", parts):
        yield


@_mutant("the clock does not follow what its writer has seen", "causal_order lane_order", range(1, 9))
def _deaf_clock() -> Iterator[None]:
    tick = HybridLogicalClock.tick
    with (
        _instead(HybridLogicalClock, "tick", lambda self, after=ZERO: tick(self)),
        _instead(HybridLogicalClock, "observe", lambda self, seen: None),
    ):
        yield


@_mutant("the fence is not checked before an append", "fork forked quarantined acknowledged_twice", range(3, 11))
def _fence_unchecked() -> Iterator[None]:
    with _instead(Fence, "guards", lambda self, types: ()):
        yield


@_mutant(
    "a fail-back opens the region without its bootstrap", "fork forked quarantined acknowledged_twice lost", range(3, 11)
)
def _fails_back_unlevelled() -> Iterator[None]:
    with (
        _instead(Failback, "_copy", lambda self, going: {"rounds": 0, "copied": {}, "refused": 0}),
        _instead(Failback, "_prove", lambda self, going: {"lanes": 0, "events": 0}),
    ):
        yield


# -- reading and folding -----------------------------------------------------------------------------------------------


@_mutant("a read does not wait for what its token names", "read_your_writes monotonic_reads", range(1, 9))
def _reads_early() -> Iterator[None]:
    with _instead(StreamReader, "pull", lambda self, stream, at_least, timeout=2.0: ()):
        yield


@_mutant("an event that is delivered again is counted again", "counters views_identical reads_explained", range(1, 9))
def _counts_again() -> Iterator[None]:
    apply = PnCounter.apply

    def again(projection: Any, stream: Any, seen: Any, upto: Any, read: Any, each: Callable[[Event], None], _: Any) -> Any:
        wanted: Wanted = read.__closure__[-1].cell_contents
        for region, events in wanted.events.items():
            for event in events.values():
                if event.sequence <= seen.get(region):
                    each(event)
        return fold_lanes(projection, stream, seen, upto, read, each)

    def forgetful(self: PnCounter, state: Any, operation: Any, tag: Any) -> Any:
        added, subtracted, _ = state.get(tag.region, (0, 0, 0))
        return apply(self, {**state, tag.region: [added, subtracted, 0]}, operation, tag)

    with _instead(engine, "fold_lanes", again), _instead(PnCounter, "apply", forgetful):
        yield


@_mutant("a view skips a gap and declares that it holds the missing events", "counters sets registers", range(1, 9))
def _folds_over_gaps() -> Iterator[None]:
    def at_hand(store: object, stream: object, wanted: Wanted) -> Any:
        return lambda region, first, last: [
            event for sequence, event in sorted(wanted.events.get(region, {}).items()) if first <= sequence <= last
        ]

    with _instead(engine, "reader", at_hand):
        yield


@_mutant("the register keeps what arrived last", "registers views_identical reads_explained", range(1, 9))
def _last_arrival_wins() -> Iterator[None]:
    apply = LwwRegister.apply

    def last(self: LwwRegister, state: Any, operation: Assign, tag: Any) -> Any:
        return apply(self, None, operation, tag)

    with _instead(LwwRegister, "apply", last):
        yield


@_mutant("a remove deletes adds that its writer had not seen", "sets views_identical reads_explained", range(1, 9))
def _remove_wins() -> Iterator[None]:
    apply = OrSet.apply

    def all_of(self: OrSet, state: Any, operation: Any, tag: Any) -> Any:
        changed = apply(self, state, operation, tag)
        if not isinstance(operation, Remove):
            return changed
        return {**changed, "adds": {who: tags for who, tags in changed["adds"].items() if who != operation.element}}

    with _instead(OrSet, "apply", all_of):
        yield


# -- functions ---------------------------------------------------------------------------------------------------------


@_mutant("a function's answer does not name what it could neither copy nor defer", "lost", range(50, 152, 99))
def _partial_failure_lost() -> Iterator[None]:
    with _instead(invocation, "stream_answer", lambda records, lost, partial: item_failures([])):
        yield


@_mutant("an answer names the first record although all is done: the mapping stands still", "lost", range(5, 39, 33))
def _mapping_stands_still() -> Iterator[None]:
    def first(records: Sequence[Any], lost: Sequence[Event], partial: bool) -> Answer:
        return item_failures([position(records[0])])

    with _instead(invocation, "stream_answer", first):
        yield


@_mutant("batches that the stream has trimmed are not redriven", "lost views_complete", range(2, 21, 12))
def _trimmed_not_redriven() -> Iterator[None]:
    with _instead(Redrive, "_every_lane", lambda *_: True):
        yield


@_mutant("what the projector gave up goes to the peers", "views_complete", range(2, 21, 12))
def _redriven_elsewhere() -> Iterator[None]:
    with _instead(redrive, "VIEWS", "nowhere"):
        yield


@_mutant("a message is removed although its lanes wait on", "lost", range(14, 39, 24))
def _message_removed() -> Iterator[None]:
    with _instead(QueueBacklog, "done", lambda *_: None):
        yield


@_mutant("events whose predecessors another batch is copying are dropped", "lost", range(38, 51, 12))
def _waiting_dropped() -> Iterator[None]:
    wait = copier.Copier._wait_for_others

    def briefly(self: copier.Copier, lanes: Any, patience: float) -> Any:
        wait(self, lanes, patience)
        return {}

    with _instead(copier.Copier, "_wait_for_others", briefly):
        yield


@_mutant("a view that a sandbox remembers is saved over whatever is there", "counters views_complete", range(2, 9, 3))
def _remembered_view_saved() -> Iterator[None]:
    save = MemorySink._save

    def over(self: MemorySink, change: Any) -> bool:
        stored = self._views.get(change.view.id)
        return save(self, replace(change, before=stored.vector if stored else None))

    with _instead(MemorySink, "_save", over):
        yield
