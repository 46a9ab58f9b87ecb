"""Settling of optimistic claims as their events arrive, done by the projector beside its views."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import structlog

from replicator.claims.optimistic import Compensation, OptimisticClaims, told_plainly
from replicator.domain.errors import InvalidConfig, RegionUnavailable, place
from replicator.domain.event import Event
from replicator.domain.names import StreamId
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention, OutcomeUnknown
from replicator.fencing.fence import RegionFenced
from replicator.runtime.plugins import load
from replicator.runtime.settings import Settings

log = structlog.get_logger()


class Settler:
    """Notifies the owners of this region's lost claims, whenever a claim's stream receives an event."""

    def __init__(self, claims: OptimisticClaims, types: Collection[str]) -> None:
        self._claims = claims
        self._types = frozenset(types)

    @classmethod
    def connect(cls, settings: Settings, store: EventStore) -> Settler:
        """Return a settler of the stream types in MERIDIAN_OPTIMISTIC_CLAIMS, with the compensation named by
        MERIDIAN_COMPENSATION."""
        return cls(OptimisticClaims(store, load_compensation(settings.compensation)), settings.optimistic_claims)

    def settle(self, events: Iterable[Event]) -> None:
        """Settle the claims that these events belong to. Raises RegionUnavailable; settling again is safe.

        A claim that cannot be settled for any other reason (a compensation that fails, a clock that is ahead) is logged as
        `claim.unsettled`: it must not delay the others. The next event of its stream retries it.
        """
        self.settle_all(event.stream for event in events)

    def settle_all(self, streams: Iterable[StreamId]) -> None:
        """Settle claims by stream, as `settle` does; streams of other types are skipped."""
        for stream in dict.fromkeys(each for each in streams if each.type in self._types):
            try:
                self._claims.settle(stream)
            except RegionFenced as error:  # views continue in a fenced region; losers are notified when it is active again
                log.warning("claim.unsettled", claim=str(stream), error=str(error))
            except (AppendContention, OutcomeUnknown) as error:
                raise RegionUnavailable(f"claim {stream} is not settled yet: {error}") from error
            except RegionUnavailable:
                raise
            except Exception as error:  # the application's own function may raise anything
                log.error("claim.unsettled", claim=str(stream), error=place(error))


def load_compensation(name: str) -> Compensation:
    """Load the function named `module:function`, or return `told_plainly` for an empty name. Raises InvalidConfig."""
    if not name:
        return told_plainly
    found = load("compensation", name)
    if not callable(found):
        raise InvalidConfig(f"compensation {name!r} is a {type(found).__name__}; name a function of a claim and its loss")
    compensation: Compensation = found
    return compensation
