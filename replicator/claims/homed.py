"""The home-region rule: a claim is granted in its home region alone, so no two regions can grant it at once.

Consistent rather than available: while a claim's home cannot be reached it can be neither made nor released. Everything
else of Meridian goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from replicator.claims.homes import Homes
from replicator.claims.ownership import OWNERSHIP, Claim, Ownership, Release
from replicator.control import ControlStorage, DynamoControl
from replicator.domain.names import StreamId
from replicator.errors import GuardFailed, InvalidConfig, InvalidOperation
from replicator.operation import GaveUp, Operation, Result
from replicator.retries import MOVED_HOMES_ATTEMPTS, moved_homes
from replicator.settings import Settings
from replicator.store import EventStore


class HomedClaims:
    """Claims and releases as one region's applications make them. Safe to share between threads.

    `stores` gives the event store of a region by name (claims are written in their homes), `control` is the own region's.
    """

    def __init__(self, control: ControlStorage, stores: Callable[[str], EventStore]) -> None:
        self._control = control
        self._stores = stores
        self._homes: Homes | None = None

    @classmethod
    def connect(cls, settings: Settings) -> HomedClaims:
        """The claims of the settings' region, on DynamoDB. Its role needs to append in every home region."""
        return cls(DynamoControl(settings), cache(lambda region: EventStore.connect(settings.at(region))))

    def save(self, claims: Sequence[Claim | Release], *operations: Operation, timeout: float = 2.0) -> Result:
        """Claims and releases, and operations on other streams, in one transaction in the claims' home region.

        Returns Saved, Rejected (owned by another), or GaveUp (the homes are being moved). Raises InvalidOperation when the
        claims have different homes (release the old one after the new one is claimed); errors as EventStore.save.
        """
        if not claims:
            raise InvalidOperation("no claim given; use EventStore.save for operations without one")

        def once() -> Result | None:
            homes = self._known()
            home = self._home(homes, claims)
            if not homes.open:
                self._homes = None
                return None
            extra = {"epoch": homes.epoch}
            try:
                return self._stores(home).save(
                    *(each.operation(extra) for each in claims), *operations, timeout=timeout, guards=[homes.guard]
                )
            except GuardFailed:
                self._homes = None  # moved since we looked
                return None

        result = moved_homes()(once)
        return result or GaveUp(MOVED_HOMES_ATTEMPTS, "the homes of claims are being moved; try again later")

    def owner(self, claim: StreamId | str, timeout: float = 2.0) -> Ownership:
        """Who owns a claim, read in its home region: nothing can be newer."""
        stream = claim if isinstance(claim, StreamId) else StreamId.parse(claim)
        return OWNERSHIP.value_of(self._stores(self._known().home_of(stream)).state(stream, timeout=timeout))

    def home_of(self, claim: StreamId | str) -> str:
        """The region where a claim is granted now."""
        return self._known().home_of(claim if isinstance(claim, StreamId) else StreamId.parse(claim))

    def _known(self) -> Homes:
        homes = self._homes or Homes.read(self._control)
        if homes is None:
            raise InvalidConfig("no region is home to claims yet; run `replicator homes --set REGIONS` once")
        self._homes = homes
        return homes

    @staticmethod
    def _home(homes: Homes, claims: Sequence[Claim | Release]) -> str:
        by_home = {homes.home_of(each.operation().stream): each.stream for each in claims}
        if len(by_home) > 1:
            named = ", ".join(f"{stream} in {home}" for home, stream in by_home.items())
            raise InvalidOperation(
                f"these claims have different homes ({named}), and a transaction has one region. Save them one by one, the "
                "new claim first and the release of the old one after it"
            )
        return next(iter(by_home))
