"""Fleet that projects one region's events into one sink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaos.fleet.event_source_mapping import HOME, Load, Mapping, Sandbox, begun
from chaos.fleet.metered_sink import MeteredSink
from chaos.fleet.metered_table import Bill, MeteredTable
from chaos.fleet.virtual_time import VirtualTime
from projectors.engine.engine import Engine
from projectors.model.fields import counter, register
from projectors.model.projection import Projection
from replicator.domain.event import Event
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.runtime.metrics import Held, embedded

_NOTHING = {"ProjectionFailures": 0.0, "ConflictsMerged": 0.0}


class Accounts(Projection):
    """View of an account: a sum and the last amount."""

    name, stream_type = "accounts", "account"
    total = counter(posted=lambda payload: payload["amount"])
    last = register(posted=lambda payload: payload["amount"])


@dataclass(slots=True)
class Projected:
    """Result of a run: what the sink and the table billed, the simulated seconds, and the views that lack events."""

    events: int
    sink: Bill
    home: Bill
    seconds: float
    behind: int
    busy: float
    """Seconds of all invocations."""
    invocations: int
    log_bytes: int
    """Bytes of metrics."""


class ViewFleet:
    """World of one run."""

    def __init__(self, load: Load, round_trip: float = 0.005) -> None:
        self._load = load
        self._time = VirtualTime()
        self._at_home = MemoryStorage()
        self._at_home.insert_each(begun(load.lanes))
        self._home = MeteredTable(self._at_home, self._time, round_trip)
        self._sink = MeteredSink(self._time, round_trip)
        Engine([Accounts], EventStore(self._at_home, HOME, [HOME]), self._sink).catch_up(dict(self._at_home.lanes()))
        self._sink.bill = Bill()
        self._logged = 0

    def run(self) -> Projected:
        """Project the load. Raises what a sandbox raised."""
        mapping = Mapping(self._load, self._time, self._sandbox)
        seconds = mapping.run(self._at_home)
        ends = {str(lane.stream): last for lane, last in self._at_home.lanes()}
        behind = sum(view.vector.get(HOME) < ends[view.key] for view in self._sink.views("accounts"))
        bills = self._sink.bill, self._home.bill
        return Projected(self._load.events, *bills, seconds, behind, mapping.busy, mapping.invocations, self._logged)

    def _sandbox(self) -> Sandbox:
        """Return a cold sandbox: an engine that remembers nothing."""
        engine = Engine([Accounts], EventStore(self._home, HOME, [HOME]), self._sink, watch=False)
        emit = Held(self._emit, monotonic=self._time.now)

        def project(events: Sequence[Event]) -> Sequence[Event]:
            if failures := engine.apply(events):
                raise RuntimeError(str(failures[0]))
            emit({"region": HOME}, {"EventsProjected": len(events), "ProjectionLag": 1.0, **_NOTHING})
            return ()

        return project

    def _emit(self, dimensions: Any, values: Any) -> None:
        self._logged += len(embedded(dimensions, values)) + 1
