"""Sessions: clients that call in a thread of their own, and move where the operator steers them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass

from chaos.checker.history import History
from chaos.workload.client import UNSETTLED, Client
from replicator.eventstore.store import EventStore


@dataclass(frozen=True, slots=True)
class _Order:
    """Region to call from now on, and, where it had lost its data, the digests of what survived of its lanes."""

    region: str
    survived: Collection[str] | None = None


class Session(Client, ABC):
    """Client that calls until it has nothing left to do, or until `finish`."""

    def __init__(self, process: str, home: str, history: History) -> None:
        super().__init__(process, home, history)
        self.error: BaseException | None = None
        self._order: _Order | None = None
        self._changed = threading.Condition()
        self._finishing = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"session-{process}", daemon=True)

    @abstractmethod
    def _more(self) -> bool:
        """Return whether there is anything left to do."""

    @abstractmethod
    def _turn(self) -> None:
        """Do the next thing."""

    @abstractmethod
    def _store(self, region: str) -> EventStore:
        """Return a region's event store, as this client reaches it."""

    def start(self) -> None:
        self._thread.start()

    def move(self, region: str, survived: Collection[str] | None = None) -> None:
        """Set the region to call from now on, as traffic steering does; the next call goes there. `survived` are the digests
        of what survived of that region's lanes, where it had lost its data."""
        with self._changed:
            self._order = _Order(region, survived)
            self._changed.notify_all()

    def finish(self) -> None:
        """Stop writing; go on resolving unknown outcomes."""
        self._finishing = True

    def stop(self, timeout: float) -> None:
        """End, and leave what is then unknown."""
        self._finishing = self._ended = True
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._ended and self._more():
                self._follow_order()
                self._turn()
        except BaseException as error:
            self.error = error

    def _follow_order(self) -> None:
        with self._changed:
            order, self._order = self._order, None
        if order is not None:
            if order.survived is not None:
                self.take_stock(order.region, order.survived)
            self.region = order.region

    def _ask(self) -> bool:
        """Resolve the first write that can be asked for. Returns whether it is settled; otherwise it becomes the last of
        those that wait."""
        doubt = next((each for each in self.doubts if self.can_ask(each)), None)
        if doubt is None:
            return False
        try:
            self.settle(doubt, self._store(doubt.region).resolve)
        except UNSETTLED:
            self.doubts.append(self.doubts.pop(self.doubts.index(doubt)))
            return False
        return True

    def _rest(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait for `seconds`, or until there is an order to follow, or `until` holds."""
        with self._changed:
            self._changed.wait_for(lambda: self._order is not None or self._ended or until(), timeout=seconds)
