"""Sink that meters its writes as DynamoDB bills them: a unit per KB of the view, also when the condition fails."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from chaos.fleet.metered_table import Bill
from chaos.fleet.virtual_time import VirtualTime
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey

_WRITE_BYTES, _READ_BYTES = 1024, 4096


class MeteredSink(MemorySink):
    """Sink in memory that takes `round_trip` seconds for each request. Only one thread runs at a time."""

    def __init__(self, time: VirtualTime, round_trip: float) -> None:
        super().__init__()
        self.bill = Bill()
        self._time = time
        self._half = round_trip / 2

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        return self._load(keys, 1.0)

    def glance(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """As LoadsCheaply."""
        return self._load(keys, 0.5)

    def _load(self, keys: Collection[ViewKey], share: float) -> Mapping[ViewKey, View]:
        self._time.sleep(self._half)
        found = super().load(keys)
        units = sum(math.ceil(max(view.size, 1) / _READ_BYTES) for view in found.values())
        self.bill.read_units += share * (units + len(set(keys)) - len(found))
        self.bill.requests["BatchGetItem"] += 1
        self._time.sleep(self._half)
        return found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        self._time.sleep(self._half)
        self.bill.write_units += sum(math.ceil(max(change.view.size, 1) / _WRITE_BYTES) for change in changes)
        self.bill.requests["BatchExecuteStatement"] += 1
        saved = super().save(changes)
        self._time.sleep(self._half)
        return saved
