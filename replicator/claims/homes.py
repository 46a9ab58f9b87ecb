"""Which region is the home of a claim, and the fence that makes it so.

Homes are chosen by rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998):
every region computes the same one without asking, and a region that leaves moves its own claims alone. Each region keeps
the value below in its control state, and every claim is written in one transaction with a check that it still stands
there, unchanged and open. An epoch is opened only after every earlier one has been closed in the regions that were home.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from replicator.control import ControlStorage
from replicator.domain.names import LaneId, StreamId, check_region
from replicator.errors import InvalidConfig, MeridianError
from replicator.retries import arriving
from replicator.storage import Guard, LaneStorage

SCOPE, KEY = "homes", "claims"


@dataclass(frozen=True, slots=True)
class Homes:
    """The regions that are home to claims, in one epoch. While it is not open nothing can be claimed in them."""

    epoch: int
    regions: tuple[str, ...]
    open: bool = True

    def home_of(self, claim: StreamId) -> str:
        """The one region where `claim` can be claimed and released."""
        return max(self.regions, key=lambda region: sha256(f"{region}#{claim.type}#{claim.id}".encode()).digest())

    @property
    def value(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "regions": list(self.regions), "open": self.open}

    @property
    def guard(self) -> Guard:
        """Holds while a region's control state is exactly this."""
        return Guard(SCOPE, KEY, self.value)

    @classmethod
    def read(cls, control: ControlStorage) -> Homes | None:
        """What a region's control state says, or None before `found`."""
        value = dict(control.get_all(SCOPE)).get(KEY)
        return None if value is None else cls(value["epoch"], tuple(value["regions"]), value["open"])


class HomesNotMoved(MeridianError):
    """A step of moving homes could not be done. Claims stay closed where they were closed; run the move again."""


@dataclass(frozen=True, slots=True)
class HomeMover:
    """Moves the home of claims to other regions. Every step can be repeated: killed anywhere, run it again.

    `controls` and `storages` are those of every region; `types` the stream types that are claims.
    """

    controls: Mapping[str, ControlStorage]
    storages: Mapping[str, LaneStorage]
    types: frozenset[str]
    step: Callable[[str], None] = lambda _: None

    def move(self, to: Sequence[str], lost: Sequence[str] = (), wait: float = 60.0) -> Homes:
        """Close the present epoch, wait until every claim has arrived in the new homes, open the next epoch there.

        `lost` names regions that are gone with all they held, or are switched off and will come back only as rebuilt ones:
        they are not asked. A region that is named so and still takes claims can grant what is granted elsewhere.
        Raises RegionUnavailable, or HomesNotMoved when claims have not arrived after `wait` seconds.
        """
        new = tuple(sorted({check_region(region) for region in to}))
        if not new or {*new, *lost} - self.controls.keys() or set(new) & set(lost):
            raise InvalidConfig(
                f"homes cannot move to {', '.join(new) or 'nowhere'} (lost: {', '.join(lost) or 'none'}); name regions of "
                f"this system ({', '.join(self.controls)}), and none as both"
            )
        asked = {region: control for region, control in self.controls.items() if region not in lost}
        found = {region: Homes.read(control) for region, control in asked.items()}
        known = [homes for homes in found.values() if homes is not None]
        latest = max(known, key=lambda homes: homes.epoch, default=None)
        if latest is None:
            if lost:
                raise InvalidConfig("no region that is left knows of any homes; name them first with all regions there")
            target = Homes(1, new)
        elif latest.regions == new and latest.open:
            target = latest  # an earlier run got as far as opening it somewhere
        else:
            self._close(asked, found)
            self._drain(list(asked), new, wait)
            target = Homes(latest.epoch + 1, new)
        self._open(asked, target)
        return target

    def _close(self, asked: Mapping[str, ControlStorage], found: Mapping[str, Homes | None]) -> None:
        for region, homes in found.items():
            if homes is None or not homes.open:
                continue
            self.step(f"{region}: closing epoch {homes.epoch}")
            if not asked[region].swap(SCOPE, KEY, homes.value, replace(homes, open=False).value):
                raise HomesNotMoved(
                    f"{region}'s homes were changed meanwhile; see that nobody else moves them, and run again"
                )

    def _drain(self, asked: Sequence[str], new: Sequence[str], wait: float) -> None:
        """Wait until each new home has every claim that any region has. What a lost region wrote is copied from those
        that have it: nobody else will."""
        ends = {region: self._claims(region) for region in asked}
        holders: dict[LaneId, str] = {}
        for region, lanes in ends.items():
            for lane, last in lanes.items():
                if last > ends[holders.get(lane, region)].get(lane, 0) or lane not in holders:
                    holders[lane] = region
        behind = [
            (there, lane)
            for there in new
            for lane, holder in holders.items()
            if ends[there].get(lane, 0) < ends[holder][lane]
        ]
        self.step(f"waiting for {len(behind):,} lanes of claims to arrive in {', '.join(new)}")
        for there, lane in behind:
            if lane.region not in asked:
                self._copy(lane, holders[lane], there)

        def once() -> bool:
            behind[:] = [(there, lane) for there, lane in behind if self._end(there, lane) < ends[holders[lane]][lane]]
            return bool(behind)

        if arriving(wait)(once):
            there, lane = behind[0]
            raise HomesNotMoved(
                f"{len(behind)} lanes of claims have not arrived after {wait:.0f} s, {lane} in {there} among them. Claims "
                "stay closed; see that replication runs, and run this again"
            )

    def _claims(self, at: str) -> dict[LaneId, int]:
        return {lane: last for lane, last in self.storages[at].lanes() if lane.stream.type in self.types}

    def _end(self, at: str, lane: LaneId) -> int:
        last = next(self.storages[at].read(lane, limit=1, reverse=True), None)
        return last.sequence if last is not None else 0

    def _copy(self, lane: LaneId, holder: str, there: str) -> None:
        for event in self.storages[holder].read(lane, self._end(there, lane) + 1):
            self.storages[there].insert([event])

    def _open(self, asked: Mapping[str, ControlStorage], target: Homes) -> None:
        for region, control in asked.items():
            held = Homes.read(control)
            if held == target:
                continue
            self.step(f"{region}: opening epoch {target.epoch}")
            if not control.swap(SCOPE, KEY, held.value if held else None, target.value):
                raise HomesNotMoved(
                    f"{region}'s homes were changed meanwhile; see that nobody else moves them, and run again"
                )
