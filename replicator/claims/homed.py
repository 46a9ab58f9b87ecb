"""Home-region rule: a claim is granted in its owner region (home) alone, so no two regions can grant it at once.

Consistent rather than available: while a claim's home cannot be reached it can be neither made nor released. All other
parts of Meridian continue.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from replicator.claims.homes import Homes, HomesNotMoved
from replicator.claims.ownership import OWNERSHIP, Claim, Ownership, Release, operations_of
from replicator.control.control_storage import ControlStorage
from replicator.control.stripes import COUNT
from replicator.domain.errors import InvalidConfig, InvalidOperation, RegionUnavailable
from replicator.domain.names import StreamId
from replicator.eventstore.operations import GaveUp, Operation, Result, Saved
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import GuardFailed, OutcomeUnknown
from replicator.runtime.retries import MOVED_HOMES_ATTEMPTS, moved_homes

T = TypeVar("T")


class WrongHome(InvalidOperation):
    """Claims without a home, or with different homes."""


class HomedClaims:
    """Makes and releases claims for one region's applications. Safe to share between threads.

    `region` is the applications' own; `controls` and `stores` return the control state and the event store of a region by
    name: claims are written in their homes, and only a home itself decides whether it is the home.
    """

    def __init__(self, region: str, controls: Callable[[str], ControlStorage], stores: Callable[[str], EventStore]) -> None:
        self._region = region
        self._controls = controls
        self._stores = stores
        self._homes: Homes | None = None  # those of the last call; the write itself detects a move
        self._plain: Homes | None = None
        """Homes that no stripe repeats."""
        self.pick: Callable[[int], int] = random.randrange
        """Chooses one of so many stripes."""

    def save(self, claims: Sequence[Claim | Release], *operations: Operation, timeout: float = 2.0) -> Result:
        """Execute claims and releases, and operations on other streams, in one transaction in the claims' home region.

        98 events (MAX_EVENTS) in all, including one for each claim or release. Returns Saved (each claim is its owner's),
        Rejected (owned by another), or GaveUp (the homes are being moved), according to the home at some moment during
        the call. Raises WrongHome when the claims have different homes (release the old one after the new one is claimed),
        or a type that has none; errors as EventStore.save.
        """
        if not claims:
            raise InvalidOperation("no claim given; use EventStore.save for operations without one")
        try:
            result = moved_homes()(self._attempt, claims, operations, timeout)
        except (RegionUnavailable, OutcomeUnknown):
            self._homes = None  # that region may be gone permanently, and its claims have another home
            raise
        return result or GaveUp(MOVED_HOMES_ATTEMPTS, "the homes of claims are being moved; try again later")

    def _attempt(self, claims: Sequence[Claim | Release], operations: Sequence[Operation], timeout: float) -> Result | None:
        """Try once under the homes as last known; return None when they have changed."""
        homes = self._homes = self._homes or self._own()
        try:
            home = self._home(homes, claims)
            wanted = operations_of(claims, operations, {"epoch": homes.epoch})
            if homes.open:
                result = self._save(home, homes, wanted, timeout)
                if _checked(result) or Homes.read(self._controls(home)) == homes:
                    return result
        except GuardFailed:
            pass
        except WrongHome:
            if homes.age >= self._newest(homes, StreamId.of(claims[0].stream)).age:
                raise
        self._homes = self._newest(homes, StreamId.of(claims[0].stream))
        return None

    def _save(self, home: str, homes: Homes, wanted: Sequence[Operation], timeout: float) -> Result:
        """Save with a check of the homes. Raises GuardFailed when they have changed."""
        save = self._stores(home).save
        if self._plain != homes:
            stripe, control = homes.stripe(self.pick(COUNT)), self._controls(home)
            try:
                return save(*wanted, timeout=timeout, guards=[stripe])
            except GuardFailed:
                if Homes.read(control) != homes:
                    raise
                if control.get(stripe.scope, stripe.key) is None:  # else they are only being opened
                    self._plain = homes
        return save(*wanted, timeout=timeout, guards=[homes.guard])

    def owner(self, claim: StreamId | str, timeout: float = 2.0) -> Ownership:
        """Return the owner of a claim, read in its home region: nothing can be newer. Raises HomesNotMoved while the homes
        are being moved; other errors as EventStore.state."""
        stream = StreamId.of(claim)
        return self._at_home(stream, lambda home: OWNERSHIP.value_of(self._stores(home).state(stream, timeout=timeout)))

    def home_of(self, claim: StreamId | str) -> str:
        """Return the region that grants a claim now. Raises as `owner`."""
        return self._at_home(StreamId.of(claim), lambda home: home)

    def _at_home(self, claim: StreamId, read: Callable[[str], T]) -> T:
        """Return the result of `read` in the claim's home region, if that confirms afterwards that it is still the home.

        While homes are closed the answer is unknown: the new home may be open already, without this region's knowledge.
        """
        homes = self._own()

        def once() -> tuple[T] | None:
            nonlocal homes
            if homes.open:
                home = homes.home_of(claim)
                found, there = read(home), Homes.read(self._controls(home))
                # A home that is not opened yet has granted nothing, and has received all claims: another one is open.
                if there is not None and there.opened == homes:
                    return (found,)
            homes = self._newest(homes, claim)
            return None

        answer = moved_homes()(once)
        if answer is None:
            raise HomesNotMoved(
                f"the homes of claims are being moved (epoch {homes.epoch}), so the home of {claim} is unknown; try again "
                "later. If no move is running, run `replicator homes --set` again with all regions"
            )
        return answer[0]

    def _newest(self, homes: Homes, claim: StreamId) -> Homes:
        """Return the newest known homes after these. Neither the own region nor the home need know of the latest change."""
        there = Homes.read(self._controls(homes.opened.home_of(claim)))
        return max(self._own(), there or homes, key=lambda each: each.age)

    def _own(self) -> Homes:
        homes = Homes.read(self._controls(self._region))
        if homes is None:
            raise InvalidConfig(
                f"{self._region} has no record of claim homes; run `replicator homes --set REGIONS --types TYPES` with all "
                "regions"
            )
        return homes

    @staticmethod
    def _home(homes: Homes, claims: Sequence[Claim | Release]) -> str:
        streams = [StreamId.of(each.stream) for each in claims]
        if strange := {stream.type for stream in streams} - set(homes.types):
            raise WrongHome(
                f"{', '.join(sorted(strange))} is not a claim type of epoch {homes.epoch} ({', '.join(homes.types)}); name "
                "all types with `replicator homes --set REGIONS --types TYPES`, or a move would leave its claims behind"
            )
        by_home = {homes.home_of(stream): stream for stream in streams}
        if len(by_home) > 1:
            named = ", ".join(f"{stream} in {home}" for home, stream in by_home.items())
            raise WrongHome(
                f"these claims have different homes ({named}), and a transaction has one region. Save them one by one, the "
                "new claim first and the release of the old one after it"
            )
        return next(iter(by_home))


def _checked(result: Result) -> bool:
    """Return whether the write itself has checked the homes, or makes no statement about owners."""
    return isinstance(result, GaveUp) or (isinstance(result, Saved) and bool(result.events))
