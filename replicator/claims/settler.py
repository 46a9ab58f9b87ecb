"""Settling claims of the optimistic rule as their events arrive: what the projector does beside its views."""

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
    """Tells the owners of this region's claims that lost, whenever a claim's stream gets an event."""

    def __init__(self, claims: OptimisticClaims, types: Collection[str]) -> None:
        self._claims = claims
        self._types = frozenset(types)

    @classmethod
    def connect(cls, settings: Settings, store: EventStore) -> Settler:
        """For the stream types of MERIDIAN_OPTIMISTIC_CLAIMS, with the compensation named by MERIDIAN_COMPENSATION."""
        return cls(OptimisticClaims(store, load_compensation(settings.compensation)), settings.optimistic_claims)

    def settle(self, events: Iterable[Event]) -> None:
        """Settle the claims that these events belong to. Raises RegionUnavailable; settling again is safe.

        A claim that cannot be settled for any other reason (a compensation that fails, a clock that is ahead) is logged as
        `claim.unsettled`: it must not hold up the others. The next event of its stream has it tried again.
        """
        self.settle_all(event.stream for event in events)

    def settle_all(self, streams: Iterable[StreamId]) -> None:
        """As `settle`, by stream; those of other types are passed over."""
        for stream in dict.fromkeys(each for each in streams if each.type in self._types):
            try:
                self._claims.settle(stream)
            except RegionFenced as error:  # views go on in a fenced region; whoever lost is told when it is active again
                log.warning("claim.unsettled", claim=str(stream), error=str(error))
            except (AppendContention, OutcomeUnknown) as error:
                raise RegionUnavailable(f"claim {stream} is not settled yet: {error}") from error
            except RegionUnavailable:
                raise
            except Exception as error:  # the application's own function may raise anything
                log.error("claim.unsettled", claim=str(stream), error=place(error))


def load_compensation(name: str) -> Compensation:
    """The function named `module:function`, or `told_plainly` for an empty name. Raises InvalidConfig."""
    if not name:
        return told_plainly
    found = load("compensation", name)
    if not callable(found):
        raise InvalidConfig(f"compensation {name!r} is a {type(found).__name__}; name a function of a claim and its loss")
    compensation: Compensation = found
    return compensation
