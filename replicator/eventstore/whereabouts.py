"""Whereabouts of events: which regions hold everything that a token names. A lane is a gap-free prefix in every region, so
the last event that the token names of a lane stands for all before it: one read a lane and region."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidOperation, MeridianError, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.domain.token import ConsistencyToken
from replicator.eventstore.read_repair import Peer
from replicator.eventstore.storage import LaneStorage, Position

_PAUSES = (0.05, 0.5)
"""First and longest pause in seconds between two looks at the regions that lack something."""
_LATE = "did not answer in time"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Regions that hold everything that a token names (`held`); for each other that answered, the last event that it lacks
    of each lane, or has differently (`missing`); and why the others did not answer (`unknown`). An event that is held
    stays."""

    held: tuple[str, ...]
    missing: Mapping[str, tuple[Position, ...]]
    unknown: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON value that `replicator where` prints: in `missing`, a sequence for each lane by its key."""
        missing = {region: {lane.key: sequence for lane, sequence in lacking} for region, lacking in self.missing.items()}
        return {"held": list(self.held), "missing": missing, "unknown": dict(self.unknown)}

    def __str__(self) -> str:
        parts = [f"held by {', '.join(self.held) or 'no region'}"]
        for region, positions in self.missing.items():
            named = ", ".join(f"{lane.key} {sequence}" for lane, sequence in positions[:3])
            parts.append(f"{region} lacks {named}{' …' if positions[3:] else ''}")
        return "; ".join([*parts, *(f"{region} is not known ({why})" for region, why in self.unknown.items())])


class NotEverywhereYet(MeridianError):
    """Fewer regions than wanted held what a token names within the time given. Nothing is wrong or lost; ask again."""

    def __init__(self, whereabouts: Whereabouts, waited: float) -> None:
        self.whereabouts = whereabouts
        super().__init__(f"after {waited:.2f} s {whereabouts}. What is written is copied all the same; ask again later")


class Locator:
    """Finds which of the regions that run hold something. `own` is the storage of `region`, `peer` that of another one, with
    short timeouts. Safe to share between threads."""

    def __init__(self, region: str, own: LaneStorage, peers: Sequence[str], peer: Peer | None) -> None:
        self._region = region
        self._regions: dict[str, Callable[[], LaneStorage]] = {region: lambda: own}
        self._regions |= {name: partial(peer, name) for name in peers} if peer is not None else {}
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that are asked, the own one first."""
        return tuple(self._regions)

    def where(self, token: ConsistencyToken, timeout: float, among: Collection[str] = ()) -> Whereabouts:
        """Return which regions hold everything that the token names, by one request to each; `among` names those that are
        asked (empty: all). A region that does not answer within `timeout` seconds is not known."""
        positions = positions_of(token)
        regions = [region for region in self._regions if not among or region in among]
        if not positions:
            return Whereabouts(tuple(regions), {}, {})
        found, unknown = self._ask(regions, positions, timeout)
        reference = _reference(positions, found, self._region)
        missing = {
            region: tuple(p for p in positions if p not in events or events[p].digest != reference[p])
            for region, events in found.items()
        }
        held = tuple(region for region in regions if region in missing and not missing[region])
        return Whereabouts(held, {region: lacking for region, lacking in missing.items() if lacking}, unknown)

    def wait(self, token: ConsistencyToken, regions: int | Collection[str], timeout: float) -> Whereabouts:
        """Wait until so many regions, or those with these names, hold everything that the token names. Raises
        NotEverywhereYet when that takes longer than `timeout` seconds, and InvalidOperation."""
        regions = (regions,) if isinstance(regions, str) else regions
        names = self._wanted(regions)
        started = time.monotonic()
        pause, longest = _PAUSES
        while True:
            left = timeout - (time.monotonic() - started)
            found = self.where(token, max(left, pause), names)
            enough = len(found.held) >= regions if isinstance(regions, int) else not (set(names) - set(found.held))
            if enough:
                return found
            left = timeout - (time.monotonic() - started)
            if left <= 0:
                raise NotEverywhereYet(found, time.monotonic() - started)
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def _wanted(self, regions: int | Collection[str]) -> tuple[str, ...]:
        if isinstance(regions, int):
            if not 1 <= regions <= len(self._regions):
                raise InvalidOperation(
                    f"regions is {regions}; give a whole number from 1 to {len(self._regions)}, or the regions' names"
                )
            return ()
        if strange := sorted(set(regions) - set(self._regions)):
            raise InvalidOperation(f"{', '.join(strange)} is not a region that runs; choose from {', '.join(self._regions)}")
        return tuple(regions)

    def _ask(
        self, regions: Sequence[str], positions: Sequence[Position], timeout: float
    ) -> tuple[dict[str, Mapping[Position, Event]], dict[str, str]]:
        tasks = {region: self._workers().submit(self._get, region, positions) for region in regions}
        wait(tasks.values(), timeout)
        found: dict[str, Mapping[Position, Event]] = {}
        unknown: dict[str, str] = {}
        for region, task in tasks.items():
            if not task.done():
                task.cancel()
                unknown[region] = _LATE
            elif (error := task.exception()) is None:
                found[region] = task.result()
            elif isinstance(error, MeridianError):
                unknown[region] = str(error)
            else:
                raise error
        return found, unknown

    def _get(self, region: str, positions: Sequence[Position]) -> Mapping[Position, Event]:
        try:
            return self._regions[region]().get(positions)
        except DamagedEvent as error:
            raise RegionUnavailable(f"{region} holds a damaged event: {error}") from error

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(4 * len(self._regions), thread_name_prefix="where")
            return self._pool


def positions_of(token: ConsistencyToken) -> list[Position]:
    """Return the last event that the token names of each lane."""
    return [
        (LaneId(region, stream), sequence)
        for stream, vector in sorted(token.vectors.items())
        for region, sequence in vector.items()
    ]


def _reference(
    positions: Sequence[Position], found: Mapping[str, Mapping[Position, Event]], own: str
) -> dict[Position, bytes]:
    """Return the digest that each event should have: its home region's, or else this region's, or that of any other."""
    digests: dict[Position, bytes] = {}
    for position in positions:
        for region in (position[0].region, own, *found):
            event = found.get(region, {}).get(position)
            if event is not None:
                digests[position] = event.digest
                break
    return digests
