"""What waits for a key of a region that is down: the worker and the function put its lanes aside, and nothing else waits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from projectors import Engine, MemorySink, Projection, register
from projectors.inbound import Inbound
from projectors.view import ViewKey
from projectors.worker import Projector
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, RegionUnavailable
from replicator.backlog import TableBacklog
from replicator.batches import BatchFailed
from replicator.control import MemoryControl, Quarantine
from replicator.erasure import KeyStorage, LocalWrapping, MemoryKeys, PersonalData, SubjectKeys
from replicator.items import to_item
from replicator.pointers import Pointers
from replicator.queues import QueueBacklog
from replicator.refusals import Refusals
from replicator.streams import Batch

EAST, WEST = "us-east-1", "eu-west-1"
LINK = f"{WEST}>views"
NOW = 1_800_000_000_000


class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"])


class Peer(MemoryKeys):
    """East's keys as west sees them."""

    down = True

    def get(self, subject: str) -> SubjectKeys:
        if self.down:
            raise RegionUnavailable("us-east-1 does not answer")
        return super().get(subject)


class West:
    """A region whose peer is down: `foreign` needs a key of it, `own` does not."""

    def __init__(self, file: Path) -> None:
        clock = HybridLogicalClock(lambda: NOW)
        self.peer, self.table, self.sink, self.control = Peer(), MemoryStorage(), MemorySink(), MemoryControl()
        self.store = EventStore(self.table, WEST, [EAST, WEST], clock)
        self.peer.down = False
        east = PersonalData(EAST, {EAST: self.peer}, LocalWrapping(file))
        self.now = 0.0
        keys: dict[str, KeyStorage] = {WEST: MemoryKeys(), EAST: self.peer}
        self.personal = PersonalData(WEST, keys, LocalWrapping(file), lambda: self.now)
        new = NewEvent("registered", east.protect("user/homer", {"email": "h@example.com"}, ["email"]))
        self.foreign = EventStore(MemoryStorage(), EAST, [EAST, WEST], clock).append("user/homer", new)[0]
        self.table.insert_each([self.foreign])
        self.own = self.store.append("user/bart", NewEvent("registered", {"email": "b@example.com"}))[0]
        self.peer.down = True
        self.engine = Engine([Account], self.store, self.sink, self.personal)
        self.quarantine = Quarantine(self.control, LINK)

    def email(self, name: str) -> Any:
        view = self.sink.load([ViewKey("account", f"user/{name}")]).get(ViewKey("account", f"user/{name}"))
        return view.value["email"] if view else "no view"

    def mend(self) -> None:
        self.peer.down, self.now = False, self.now + 30


@pytest.fixture
def west(tmp_path: Path) -> West:
    return West(tmp_path / "key")


def record(event: Event) -> dict[str, Any]:
    image = to_item(event)
    keys = {name: image[name] for name in ("pk", "sk")}
    return {"eventID": event.id, "eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": "1"}}


# -- the worker ------------------------------------------------------------------------------------------------------


class Reader:
    """One batch, and what was committed."""

    def __init__(self, *events: Event) -> None:
        self.batches = [Batch("shard", tuple(record(event) for event in events), "1")] if events else []
        self.committed: list[Batch] = []

    def poll(self) -> list[Batch]:
        batches, self.batches = self.batches, []
        return batches

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


def worker(west: West, reader: Reader) -> Projector:
    return Projector(WEST, reader, west.store, west.engine, west.quarantine, 0.01, TableBacklog(west.control, LINK))  # type: ignore[arg-type]


def run(projector: Projector, seconds: float = 0.3) -> None:
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    projector.run(stop)


def test_the_worker_goes_on_and_takes_up_what_waits_when_the_region_is_back_also_after_a_restart(
    west: West, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projectors.worker._WAITING_SECONDS", 0.05)
    reader = Reader(west.foreign, west.own)
    run(worker(west, reader))
    assert len(reader.committed) == 1
    assert (west.email("homer"), west.email("bart")) == ("no view", "b@example.com")
    assert list(TableBacklog(west.control, LINK).page(10)) == [west.foreign.lane]
    assert west.quarantine.records() == []
    west.mend()
    run(worker(west, Reader()))  # another process: nothing comes from the stream any more
    assert west.email("homer") == "h@example.com"
    assert TableBacklog(west.control, LINK).page(10) == {}


# -- the function ----------------------------------------------------------------------------------------------------


class Queue:
    name = "a queue"

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.down = False

    def send(self, text: str, delay: int = 0) -> None:
        if self.down:
            raise RegionUnavailable("the queue takes nothing")
        self.sent.append((text, delay))

    def take(self) -> list[dict[str, str]]:
        taken, self.sent = self.sent, []
        return [{"messageId": f"m{n}", "body": text} for n, (text, _) in enumerate(taken)]


def function(west: West, queue: Queue, letters: Queue) -> Inbound:
    def emit(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
        pass

    refusals = Refusals(WEST, west.control, [WEST, LINK], emit, lambda: NOW)
    return Inbound(
        WEST, west.store, west.engine, QueueBacklog(LINK, queue), letters, west.quarantine, refusals, emit,  # type: ignore[arg-type]
        wall=lambda: NOW,
    )  # fmt: skip


def test_the_function_leaves_pointers_for_what_waits_and_folds_the_rest(west: West) -> None:
    queue, letters = Queue(), Queue()
    inbound = function(west, queue, letters)
    assert inbound.project([record(west.foreign), record(west.own)]) == {"batchItemFailures": []}
    assert (west.email("homer"), west.email("bart")) == ("no view", "b@example.com")
    assert [Pointers.parse(text).lanes for text, _ in queue.sent] == [{west.foreign.lane: (1, 1)}]
    for tries in (1, 2):  # still down: it comes back, ever more slowly, and never as a dead letter
        assert inbound.catch_up(queue.take(), lambda: True) == {"batchItemFailures": []}
        ((text, delay),) = queue.sent
        assert (Pointers.parse(text).tries, delay >= 1) == (tries, True)
    assert letters.sent == []
    assert west.quarantine.records() == []
    west.mend()
    assert inbound.catch_up(queue.take(), lambda: True) == {"batchItemFailures": []}
    assert (west.email("homer"), queue.sent) == ("h@example.com", [])


def test_where_no_pointer_can_be_left_the_batch_comes_again(west: West) -> None:
    queue = Queue()
    queue.down = True
    inbound = function(west, queue, Queue())
    with pytest.raises(BatchFailed, match="the batch is to come again"):
        inbound.project([record(west.foreign), record(west.own)])
    west.mend()
    assert inbound.project([record(west.foreign), record(west.own)]) == {"batchItemFailures": []}
    assert west.email("homer") == "h@example.com"
