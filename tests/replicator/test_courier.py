"""A courier: whatever its peer does, nothing is lost, nothing is out of order, and nobody else has to wait for long."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator import logs
from replicator.control import MemoryControl, Quarantine
from replicator.copier import Copier
from replicator.courier import FUSE_SECONDS, Courier
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.errors import DamagedEvent, OutcomeUnknown, RegionUnavailable
from replicator.linkstate import LinkState
from replicator.memory import MemoryStorage
from replicator.pointers import Pointers, Spans, join
from replicator.queues import MAX_DELAY, QueueBacklog
from replicator.storage import Insert, Position

LINK = "us-east-1>eu-west-1"
A, B, C = (LaneId("us-east-1", StreamId("user", name)) for name in "abc")
SECRET = "correct horse battery staple"
NAMES = {"ReplicationLag", "EventsCopied", "EventsKnown", "EventsDeferred", "BacklogAge"}


def chain(lane: LaneId, count: int, after: Sequence[Event] = (), by: str = "home") -> list[Event]:
    """`count` events behind those of `after`; `by` makes another history of the same positions."""
    events = list(after)
    for sequence in range(len(events) + 1, len(events) + count + 1):
        prev = events[-1].digest if events else GENESIS
        events.append(seal(lane, sequence, Hlc(1000 + sequence, 0), NewEvent("x", {"by": by, "s": SECRET}), EMPTY, prev))
    return events[len(after) :]


def client_error(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "BatchExecuteStatement")


ERRORS: dict[str, Exception] = {
    "down": RegionUnavailable("eu-west-1 does not answer"),
    "no table": client_error("ResourceNotFoundException"),
    "no right": client_error("AccessDeniedException"),
    "no key": client_error("KMSAccessDeniedException"),
    "a mistake": KeyError("Responses"),
}


class Peer(MemoryStorage):
    """A storage that does as it is told: `error` at every call, `faults` one a call, lanes throttled or damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.error: Exception | None = None
        self.faults: Iterator[str] = iter(())
        self.throttled: set[LaneId] = set()
        self.damaged: set[Position] = set()

    def _call(self, do: Callable[[], Any] = lambda: None, events: Sequence[Event] = ()) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        fault = next(self.faults, "fine")
        if fault in ERRORS:
            raise ERRORS[fault]
        done = do()
        if fault == "unanswered":
            raise RegionUnavailable("no answer")
        if fault == "unknown" and events:
            raise OutcomeUnknown("no answer", events)
        return done

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        if self.throttled & {event.lane for event in events}:
            raise RegionUnavailable("throttled")
        return self._call(lambda: MemoryStorage.insert(self, events), events)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        passing = [event for event in events if event.lane not in self.throttled]
        if events and not passing:
            raise RegionUnavailable("throttled")
        done = self._call(lambda: dict(zip(passing, MemoryStorage.insert_each(self, passing), strict=True)))
        return [done.get(event, Insert.NOT_NOW) for event in events]

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        found: Mapping[Position, Event] = self._call(lambda: MemoryStorage.get(self, positions))
        return found

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        self._call()
        for event in super().read(lane, *args, **options):
            if (lane, event.sequence) in self.damaged:
                raise DamagedEvent(f"event {event.id} does not match its digest")
            yield event


class Control(MemoryControl):
    down = False

    def put(self, scope: str, values: dict[str, dict[str, Any]]) -> None:
        if self.down:
            raise RegionUnavailable("us-east-1 does not answer")
        super().put(scope, values)


class Queue:
    """What was sent, or that nothing can be."""

    name = "backlog"

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.down = False

    def send(self, text: str, delay: int = 0) -> None:
        if self.down:
            raise RegionUnavailable("us-east-1 does not answer")
        self.sent.append((text, delay))


@dataclass
class Bench:
    """A home, a peer, and what lies between them. `at` is the monotonic clock, `now` the wall clock."""

    home: Peer = field(default_factory=Peer)
    peer: Peer = field(default_factory=Peer)
    control: Control = field(default_factory=Control)
    queue: Queue = field(default_factory=Queue)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))
    at: float = 0.0
    now: int = 10_000
    told: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.control, LINK)
        self.courier = self.restarted()

    def restarted(self) -> Courier:
        """The courier of another process: it remembers nothing."""
        log = structlog.get_logger()
        self.courier = Courier(
            LINK,
            "us-east-1",
            Copier(self.home, self.peer, self.quarantine, self.pool, LinkState(), log),
            QueueBacklog(LINK, self.queue),  # type: ignore[arg-type]
            lambda dimensions, values: self.told.append((dict(dimensions), dict(values))),
            lambda: self.now,
            lambda: self.at,
        )
        return self.courier

    def at_home(self, *lanes: tuple[LaneId, int]) -> list[Event]:
        """New events in these home lanes, of each lane in turn."""
        made = [chain(lane, count, list(MemoryStorage.read(self.home, lane))) for lane, count in lanes]
        self.home.insert_each([event for events in made for event in events])
        longest = max(map(len, made), default=0)
        return [events[n] for n in range(longest) for events in made if n < len(events)]

    def waiting(self) -> list[Pointers]:
        """What is on the backlog; takes it."""
        found = [Pointers.parse(text) for text, _ in self.queue.sent]
        self.queue.sent.clear()
        return found

    def drain(self, fits: Callable[[], bool] = lambda: True) -> None:
        """What SQS does: hand over everything that waits."""
        if found := self.waiting():
            self.courier.catch_up([(p.lanes, p.since, p.tries) for p in found], fits)

    def refused(self) -> list[str]:
        return [event_id for event_id, _ in self.quarantine.records()]

    def check(self) -> None:
        """The peer's lanes are prefixes of the home lanes."""
        for lane, events in everything(self.peer).items():
            assert events == list(MemoryStorage.read(self.home, lane))[: len(events)]


def everything(storage: MemoryStorage) -> dict[LaneId, list[Event]]:
    return {lane: list(MemoryStorage.read(storage, lane)) for lane, _ in storage.lanes()}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without this every traceback is rendered for a terminal, which takes half a second."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.pool.shutdown()


def total(bench: Bench, name: str) -> float:
    return sum(values.get(name, 0) for _, values in bench.told)


# -- delivering --------------------------------------------------------------------------------------------------------


def test_events_are_copied_in_order_and_redelivery_after_a_crash_adds_nothing(bench: Bench) -> None:
    events = bench.at_home((A, 7), (B, 2), (C, 1))
    assert bench.courier.deliver(events) == []
    assert bench.restarted().deliver(events) == []  # killed between the copy and the answer
    assert bench.courier.deliver([*events, *events][3:15]) == []
    assert everything(bench.peer) == everything(bench.home)
    assert (bench.queue.sent, bench.refused()) == ([], [])


@pytest.mark.parametrize(
    "count",
    [
        1,
        4,
        5,
    ],
)
def test_what_came_again_is_counted_as_known_not_as_copied(bench: Bench, count: int) -> None:
    events = bench.at_home((A, count))
    bench.courier.deliver(events)
    bench.restarted().deliver(events)
    bench.courier.deliver(events)
    assert (total(bench, "EventsCopied"), total(bench, "EventsKnown")) == (count, 2 * count)


def test_nothing_to_deliver_asks_nobody_and_tells_nothing(bench: Bench) -> None:
    bench.peer.error = bench.home.error = RegionUnavailable("down")
    assert bench.courier.deliver([]) == []
    assert (bench.peer.calls, bench.told, bench.queue.sent) == (0, [], [])


@pytest.mark.parametrize("order", [[3, 1, 2], [3], [2, 3], [3, 3, 1]], ids=str)
def test_a_gap_is_filled_from_home_before_anything_behind_it_is_copied(bench: Bench, order: list[int]) -> None:
    events = bench.at_home((A, 3), (B, 1))
    assert bench.courier.deliver([*(events[0] if n == 1 else events[n] for n in order), events[1]]) == []
    assert everything(bench.peer) == everything(bench.home)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("long", [False, True], ids=["inserts", "transactions"])
def test_what_a_dead_peer_cannot_take_waits_as_pointers(bench: Bench, error: Exception, long: bool) -> None:
    events = bench.at_home((A, 6 if long else 2), (B, 1))
    more = bench.at_home((C, 2))
    bench.peer.error = error
    assert bench.courier.deliver(events) == []
    assert bench.courier.deliver(more) == []
    found = bench.waiting()
    assert join(p.lanes for p in found) == {A: (1, 6 if long else 2), B: (1, 1), C: (1, 2)}
    assert [(p.link, p.since, p.tries, p.cause) for p in found] == [(LINK, 1001, 0, {})] * len(found)
    assert total(bench, "EventsDeferred") == len(events) + 2
    assert total(bench, "EventsCopied") == 0
    assert all(values["ReplicationLag"] == 10_000 - 1001 for _, values in bench.told)
    assert (everything(bench.peer), bench.refused()) == ({}, [])


def test_a_throttled_lane_waits_alone(bench: Bench) -> None:
    events = bench.at_home((A, 2), (B, 6), (C, 1))
    bench.peer.throttled = {B}
    assert bench.courier.deliver(events) == []
    assert everything(bench.peer).keys() == {A, C}
    assert [p.lanes for p in bench.waiting()] == [{B: (1, 6)}]
    bench.peer.throttled = set()
    assert bench.courier.deliver(bench.at_home((B, 1))) == []  # the next event pulls what is before it
    assert everything(bench.peer) == everything(bench.home)


def test_a_peer_that_failed_is_left_alone_for_a_while_and_then_tried_once(bench: Bench) -> None:
    bench.peer.error = RegionUnavailable("down")
    tried = []
    for at in (0, 0.1, FUSE_SECONDS - 0.1, FUSE_SECONDS, FUSE_SECONDS + 0.1, 2 * FUSE_SECONDS - 0.1, 2 * FUSE_SECONDS):
        bench.at, before = at, bench.peer.calls
        assert bench.courier.deliver(bench.at_home((A, 1))) == []
        tried.append(bench.peer.calls > before)
    assert tried == [True, False, False, True, False, False, True]
    assert join(p.lanes for p in bench.waiting()) == {A: (1, 7)}

    bench.peer.error = None
    bench.at = 3 * FUSE_SECONDS
    assert bench.courier.deliver(bench.at_home((A, 1))) == []  # it is back, and the gap is filled on the way
    assert everything(bench.peer) == everything(bench.home)
    bench.at += 0.1
    assert bench.courier.deliver(bench.at_home((A, 1))) == []
    assert everything(bench.peer) == everything(bench.home)
    assert bench.queue.sent == []


def test_a_fuse_that_blows_at_the_clocks_zero_is_blown(bench: Bench) -> None:
    bench.peer.error, bench.at = RegionUnavailable("down"), 0.0
    bench.courier.deliver(bench.at_home((A, 1)))
    before = bench.peer.calls
    bench.courier.deliver(bench.at_home((A, 1)))
    assert bench.peer.calls == before


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_what_neither_the_peer_nor_the_backlog_takes_is_handed_back(bench: Bench, error: Exception) -> None:
    events = bench.at_home((A, 2), (B, 1))
    bench.peer.error, bench.queue.down = error, True
    assert bench.courier.deliver(events) == events
    bench.queue.down = False
    assert bench.courier.deliver(events) == []
    assert join(p.lanes for p in bench.waiting()) == {A: (1, 2), B: (1, 1)}


def test_only_what_is_left_is_handed_back(bench: Bench) -> None:
    events = bench.at_home((A, 2), (B, 2), (C, 1))
    bench.peer.throttled, bench.queue.down = {B}, True
    assert bench.courier.deliver(events) == [event for event in events if event.lane == B]
    bench.peer.throttled = set()
    assert bench.courier.deliver(events) == []
    assert everything(bench.peer) == everything(bench.home)


def test_a_fork_is_never_applied_and_is_recorded_with_both_digests(bench: Bench) -> None:
    forged = chain(A, 2, by="somebody else")
    bench.peer.insert_each(forged)
    events = bench.at_home((A, 3), (B, 3))
    for courier in (bench.courier, bench.restarted()):
        assert courier.deliver(events) == []
    assert everything(bench.peer) == {A: forged, B: list(bench.home.read(B))}
    ((event_id, value),) = bench.quarantine.records()
    ours = next(event for event in events if event.id == event_id)
    assert value["refused"] == ours.digest.hex()
    assert value["held"] == forged[ours.sequence - 1].digest.hex()


@pytest.mark.parametrize("again", ["stream", "backlog"])
def test_a_fork_that_was_met_while_the_control_table_was_down_is_recorded_later(bench: Bench, again: str) -> None:
    bench.peer.insert_each(chain(A, 2, by="somebody else"))
    events = bench.at_home((A, 4))
    bench.control.down = True
    bench.courier.deliver(events)
    bench.control.down, bench.at = False, FUSE_SECONDS + 1
    if again == "stream":
        assert bench.courier.deliver(events) == []
    bench.drain()
    assert [event_id.rpartition("#")[0] for event_id in bench.refused()] == [A.key]


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (2, 3), (1, 1)])
def test_a_fork_is_found_also_by_what_waited(bench: Bench, ours: int, theirs: int) -> None:
    bench.peer.insert_each(chain(A, theirs, by="somebody else"))
    bench.peer.error = RegionUnavailable("down")
    bench.courier.deliver(bench.at_home((A, ours)))
    bench.peer.error = None
    bench.drain()
    assert [event_id.rpartition("#")[0] for event_id in bench.refused()] == [A.key]


# -- catching up -------------------------------------------------------------------------------------------------------


def test_messages_of_one_lane_are_one_piece_of_work(bench: Bench) -> None:
    bench.at_home((A, 9), (B, 2))
    messages: list[tuple[Spans, int, int]] = [({A: (n, n), B: (1, 1)}, 5000 - n, 0) for n in range(1, 8)]
    bench.courier.catch_up(messages, lambda: True)
    assert everything(bench.peer) == everything(bench.home), "the whole lane, not what the pointers name alone"
    assert bench.queue.sent == []
    assert bench.peer.calls <= 2 + 1 + 2, "a look at each lane, one transaction, and the short lane's two events"
    assert total(bench, "EventsCopied") == 11


def test_what_is_at_the_peer_already_is_done_with_a_look(bench: Bench) -> None:
    bench.courier.deliver(bench.at_home((A, 3)))
    bench.restarted().catch_up([({A: (1, 3)}, 7, 5), ({B: (1, 1)}, 7, 5), ({}, 7, 5)], lambda: True)
    assert everything(bench.peer) == everything(bench.home)
    assert bench.queue.sent == []
    assert bench.told[-1][1] == {"BacklogAge": 0, "ReplicationLag": 0, "EventsCopied": 0}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_what_fails_again_waits_on_with_the_time_since_when(bench: Bench, error: Exception) -> None:
    bench.at_home((A, 3), (B, 1))
    bench.peer.error = error
    bench.courier.catch_up([({A: (2, 3)}, 4000, 2), ({A: (1, 1), B: (1, 1)}, 3000, 0)], lambda: True)
    assert all(1 <= delay <= 2**3 for _, delay in bench.queue.sent), "it rests, but not for long"
    assert [(p.lanes, p.since, p.tries) for p in bench.waiting()] == [({A: (1, 3), B: (1, 1)}, 3000, 3)]
    assert bench.told[-1][1] == {"BacklogAge": 7.0, "ReplicationLag": 7000, "EventsCopied": 0}


@pytest.mark.parametrize("tries", [1, 2, 5, 10, 1000, 100_000])
def test_the_rest_between_two_attempts_is_bounded(bench: Bench, tries: int) -> None:
    bench.at_home((A, 1))
    bench.peer.error = RegionUnavailable("down")
    for _ in range(30):
        bench.courier.catch_up([({A: (1, 1)}, 4000, tries)], lambda: True)
    assert all(1 <= delay <= MAX_DELAY for _, delay in bench.queue.sent)
    assert len({delay for _, delay in bench.queue.sent}) > 1, "not all at one instant"


def test_one_damaged_throttled_or_forked_lane_leaves_the_others_alone(bench: Bench) -> None:
    names = [LaneId("us-east-1", StreamId("user", f"{n:03}")) for n in range(60)]
    bench.at_home(*((lane, 3) for lane in names))
    damaged, throttled, forked, at_peer = names[10], names[20], names[30], names[40]
    bench.home.damaged = {(damaged, 2)}
    bench.peer.throttled = {throttled}
    bench.peer.insert_each([*chain(forked, 1, by="x"), *chain(at_peer, 2)])
    bench.peer.damaged = {(at_peer, 2)}
    bench.courier.catch_up([(dict.fromkeys(names, (1, 3)), 4000, 0)], lambda: True)
    good = [lane for lane in names if lane not in (damaged, throttled, forked, at_peer)]
    assert all(everything(bench.peer)[lane] == everything(bench.home)[lane] for lane in good)
    assert [event.sequence for event in MemoryStorage.read(bench.peer, damaged)] == [1], "what comes before damage is good"
    assert [(p.lanes, p.tries) for p in bench.waiting()] == [({throttled: (1, 3)}, 1)]
    assert {event_id.rpartition("#")[0].removesuffix("#head") for event_id in bench.refused()} >= {damaged.key, forked.key}
    assert len(bench.refused()) == 3


def lanes_of(count: int) -> list[LaneId]:
    return [LaneId("us-east-1", StreamId("user", f"{n:04}")) for n in range(count)]


@pytest.mark.parametrize(
    "tries",
    [
        0,
        3,
    ],
)
def test_what_there_is_no_time_for_waits_on_as_it_was(bench: Bench, tries: int) -> None:
    names = lanes_of(140)
    bench.at_home(*((lane, 1) for lane in names))
    waiting: list[tuple[Spans, int, int]] = [(dict.fromkeys(names, (1, 1)), 4000, tries)]
    bench.courier.catch_up(waiting, lambda: len(everything(bench.peer)) < 60)
    done = everything(bench.peer)
    assert 60 <= len(done) < 140
    assert bench.told[-1][1] == {"BacklogAge": 6.0, "ReplicationLag": 6000, "EventsCopied": len(done)}
    left = bench.waiting()
    assert {(p.since, p.tries) for p in left} == {(4000, tries)}
    assert join(p.lanes for p in left) == {lane: (1, 1) for lane in names if lane not in done}


def test_too_little_time_for_anything_is_still_some_progress(bench: Bench) -> None:
    names = lanes_of(140)
    bench.at_home(*((lane, 1) for lane in names))
    bench.courier.catch_up([(dict.fromkeys(names, (1, 1)), 4000, 0)], lambda: False)
    for _ in range(140):
        bench.drain(lambda: False)
    assert everything(bench.peer) == everything(bench.home)
    assert bench.queue.sent == []


def test_a_peer_that_dies_on_the_way_leaves_the_rest_waiting_and_what_was_done_done(bench: Bench) -> None:
    names = lanes_of(140)
    bench.at_home(*((lane, 1) for lane in names))
    bench.peer.faults = iter([*["fine"] * 70, *["no right"] * 1000])
    bench.courier.catch_up([(dict.fromkeys(names, (1, 1)), 4000, 0)], lambda: True)
    done = everything(bench.peer)
    assert 0 < len(done) < 140
    left = bench.waiting()
    assert {(p.since, p.tries) for p in left} == {(4000, 1)}
    assert join(p.lanes for p in left).keys() >= set(names) - done.keys()


@pytest.mark.parametrize("case", ["peer down", "no time"])
def test_what_can_neither_be_done_nor_deferred_is_an_error(bench: Bench, case: str) -> None:
    names = lanes_of(140)
    bench.at_home(*((lane, 1) for lane in names))
    bench.queue.down = True
    bench.peer.error = RegionUnavailable("down") if case == "peer down" else None
    with pytest.raises(RegionUnavailable):
        bench.courier.catch_up([(dict.fromkeys(names, (1, 1)), 4000, 0)], lambda: False)


def test_the_backlog_tries_a_peer_that_the_stream_leaves_alone(bench: Bench) -> None:
    bench.peer.error = RegionUnavailable("down")
    bench.courier.deliver(bench.at_home((A, 2)))
    bench.peer.error = None
    bench.drain()
    assert everything(bench.peer) == everything(bench.home)


# -- all of it together ------------------------------------------------------------------------------------------------

faults = st.sampled_from(["fine", "fine", "fine", "down", "unanswered", "unknown", "no right", "a mistake"])
steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 7)), min_size=1, max_size=3, unique_by=lambda x: x[0]),
        st.sampled_from(["deliver", "again", "restart", "drain"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.lists(faults, max_size=40))
def test_whatever_fails_the_peer_is_a_prefix_and_the_backlog_knows_the_rest(steps: Any, plan: list[str]) -> None:
    bench = Bench(pool=ThreadPoolExecutor(1))
    with bench.pool:
        bench.peer.faults = iter(plan)
        for lanes, what, queue_down in steps:
            bench.at += 11
            events = bench.at_home(*lanes)
            if what == "restart":
                bench.restarted()
            bench.queue.down = queue_down
            lost = bench.courier.deliver(events)
            bench.check()
            assert queue_down or not lost
            bench.queue.down = False
            if lost or what == "again":
                assert bench.courier.deliver(events) == []
            if what == "drain":
                bench.drain()
            bench.check()
        bench.peer.faults = iter(())
        bench.restarted()
        while bench.queue.sent:
            bench.drain()
        assert everything(bench.peer) == everything(bench.home)
        assert bench.refused() == []


# -- what it says ------------------------------------------------------------------------------------------------------


def provoke(bench: Bench) -> None:
    """Everything that a courier can say something about, with a secret in every payload."""
    events = bench.at_home((A, 6), (B, 2), (C, 1))
    for error in ERRORS.values():
        bench.peer.error, bench.at = error, bench.at + 100
        bench.courier.deliver(events)
        bench.courier.catch_up([({A: (1, 6), B: (1, 2)}, 4000, 1)], lambda: True)
    bench.queue.down = True
    bench.courier.deliver(events)
    bench.queue.down, bench.peer.error, bench.at = False, None, bench.at + 100
    bench.peer.insert_each(chain(A, 2, by="somebody else"))
    bench.home.damaged = {(B, 2)}
    bench.courier.deliver(events[:3])
    bench.courier.catch_up([({A: (1, 6), B: (1, 2), C: (1, 1)}, 4000, 1)], lambda: True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logged(quiet: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Logs as a process configures them: in Lambda, or on a terminal."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    if request.param == "Lambda":
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "meridian-replicator")
    logs.configure("debug")
    structlog.configure(cache_logger_on_first_use=False)
    return stream


@pytest.mark.parametrize("logged", ["Lambda"], indirect=True)
def test_no_payload_is_in_a_message_a_metric_a_record_or_a_log_line(bench: Bench, logged: io.StringIO) -> None:
    bench.restarted()
    provoke(bench)
    said = logged.getvalue()
    for event in ("link.failed", "link.down", "backlog.unavailable", "link.quarantined"):
        assert event in said
    assert "horse" not in said
    assert "horse" not in json.dumps([bench.told, bench.queue.sent, bench.quarantine.records()])


@pytest.mark.parametrize("logged", ["terminal"], indirect=True)
def test_no_payload_is_in_a_traceback_on_a_terminal(bench: Bench, logged: io.StringIO) -> None:
    bench.peer.error = ERRORS["a mistake"]
    bench.courier.deliver(bench.at_home((A, 1)))
    assert "link.failed" in logged.getvalue()
    assert "horse" not in logged.getvalue()


def test_metrics_bear_the_region_and_the_link_and_known_names_alone(bench: Bench) -> None:
    provoke(bench)
    assert {json.dumps(dimensions) for dimensions, _ in bench.told} == {json.dumps({"region": "us-east-1", "link": LINK})}
    said: Iterable[str] = {name for _, values in bench.told for name in values}
    assert said == NAMES
    assert all(isinstance(v, int | float) and v >= 0 for _, values in bench.told for v in values.values())


def test_an_event_from_the_future_has_no_negative_lag(bench: Bench) -> None:
    bench.now = 5
    bench.courier.deliver(bench.at_home((A, 1)))
    bench.peer.error = RegionUnavailable("down")
    bench.courier.catch_up([({A: (1, 1), B: (1, 1)}, 10**13, 0)], lambda: True)
    assert [values["ReplicationLag"] for _, values in bench.told] == [0, 0]
