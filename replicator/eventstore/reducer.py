"""Reducer: a plain fold of a stream in stream order, for preconditions on short streams. Use projections for all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from replicator.domain.event import Event
from replicator.eventstore.stream_state import StreamState
from replicator.eventstore.upcasting import PLAIN, Schemas

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Reducer(Generic[S]):
    """Fold from `initial` with a handler for each event type: `on[type](value, payload)`. Other types are skipped. Each
    stream begins with a deep copy of `initial`.

    All regions that know the same events fold them in the same order (HLC, region, sequence) and get the same value.
    """

    initial: S
    on: Mapping[str, Callable[[S, dict[str, Any]], S]]
    schemas: Schemas = PLAIN

    def value_of(self, state: StreamState) -> S:
        """Return the value of all of the state's events."""
        value = deepcopy(self.initial)  # a handler may change it in place
        for event in state.events():
            value = self.apply(value, event)
        return value

    def apply(self, value: S, event: Event) -> S:
        """Return the value after an event. Raises UnknownVersion for a version without an upcaster."""
        handler = self.on.get(event.type)
        return value if handler is None else handler(value, self.schemas.payload(event))
