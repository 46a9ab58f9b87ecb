"""Owner region (home) of each claim, and the condition check that enforces it.

Homes are chosen by rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998):
every region computes the same one without communication, and a region that leaves moves its own claims alone. Each region
keeps the value below in its control state, and every claim is written in one transaction with a condition check that it
is still stored there, unchanged and open: on one of many stripes that repeat it, as claims that check the same item at the
same time would fail each other.

An epoch belongs to one move. Before it is opened anywhere, every region records that it is closed for this epoch and where
it leads to, and a region is opened only from exactly that state. So of several concurrent moves at most one opens anything:
the epoch is what a ballot is in Paxos (Lamport, "Paxos Made Simple", 2001, section 2.2), with every region that is asked as
the quorum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from replicator.control.control_storage import ControlStorage, Guard, Value
from replicator.control.stripes import Stripes
from replicator.domain.errors import InvalidConfig, MeridianError
from replicator.domain.names import LaneId, StreamId, check_region
from replicator.eventstore.storage import LaneStorage
from replicator.runtime.retries import arriving

SCOPE, KEY = "homes", "claims"
STRIPES = Stripes(SCOPE)


@dataclass(frozen=True, slots=True)
class Homes:
    """Owner regions of claims of `types`, in one epoch.

    While it is not open nothing can be claimed: the claims of `regions` are being moved `to` others.
    """

    epoch: int
    regions: tuple[str, ...]
    open: bool = True
    types: tuple[str, ...] = ()
    to: tuple[str, ...] = ()

    def home_of(self, claim: StreamId) -> str:
        """Return the only region where `claim` can be claimed and released."""
        return max(self.regions, key=lambda region: sha256(f"{region}#{claim.type}#{claim.id}".encode()).digest())

    @property
    def opened(self) -> Homes:
        """The homes that a closed value leads to; itself if it is open."""
        return self if self.open else Homes(self.epoch, self.to, True, self.types)

    @property
    def age(self) -> tuple[int, bool]:
        """Order of the values that several regions hold: the greatest is the newest."""
        return self.epoch, self.open

    @property
    def value(self) -> dict[str, Any]:
        """Control state that these homes are stored as."""
        value = {"epoch": self.epoch, "regions": list(self.regions), "open": self.open, "types": list(self.types)}
        return value if self.open else {**value, "to": list(self.to)}

    @property
    def guard(self) -> Guard:
        """Condition check that a region's control state is exactly this: on the one record that decides."""
        return Guard(SCOPE, KEY, self.value)

    def stripe(self, number: int) -> Guard:
        """Condition check of the same on one of the stripes, which claims made at the same time need not share."""
        return STRIPES.guard(number, self.value)

    @classmethod
    def read(cls, control: ControlStorage) -> Homes | None:
        """Read the homes from a region's control state; None before homes are set there."""
        value = control.get(SCOPE, KEY)
        return None if value is None else cls.parse(value)

    @classmethod
    def parse(cls, value: Value) -> Homes:
        """Return the homes that are stored as this value."""
        return cls(value["epoch"], tuple(value["regions"]), value["open"], tuple(value["types"]), tuple(value.get("to", ())))


class HomesNotMoved(MeridianError):
    """Homes are being moved, or a move was interrupted. Claims stay closed where they were closed; run the move again."""


@dataclass(frozen=True, slots=True)
class HomeMover:
    """Moves the homes of claims to other regions. Every step can be repeated: after a crash at any point, run it again.

    `controls` and `storages` are those of every region; `types` all stream types that are claims.
    """

    controls: Mapping[str, ControlStorage]
    storages: Mapping[str, LaneStorage]
    types: frozenset[str]
    step: Callable[[str], None] = lambda _: None

    def move(self, to: Sequence[str], lost: Sequence[str] = (), wait: float = 60.0) -> Homes:
        """Close claims everywhere, wait until every claim has arrived in the new homes, open the next epoch there.

        `lost` names regions that are gone with all their data, or are switched off and will come back only as rebuilt ones:
        they are not queried. A region named here that still accepts claims can grant what is granted elsewhere.
        Raises InvalidConfig before anything is changed, RegionUnavailable, and HomesNotMoved when claims have not arrived
        after `wait` seconds or another process moves them too.
        """
        new = self._named(to, lost)
        asked = {region: control for region, control in self.controls.items() if region not in lost}
        found = {region: Homes.read(control) for region, control in asked.items()}
        self._check(found, lost)
        target = self._opened_before(found, new)
        if target is None:
            closed = self._closed(found, new)
            self._close(asked, found, closed)
            self._drain(list(asked), new, wait)
            target = closed.opened
        self._open(asked, target)
        return target

    def _named(self, to: Sequence[str], lost: Sequence[str]) -> tuple[str, ...]:
        new = tuple(sorted({check_region(region) for region in to}))
        if not new or {*new, *lost} - self.controls.keys() or set(new) & set(lost):
            raise InvalidConfig(
                f"homes cannot move to {', '.join(new) or 'nowhere'} (lost: {', '.join(lost) or 'none'}); name regions of "
                f"this system ({', '.join(self.controls)}), and no region as both"
            )
        return new

    def _check(self, found: Mapping[str, Homes | None], lost: Sequence[str]) -> None:
        """Raise InvalidConfig for an unqueried home, which would stay open, or an unnamed type, whose claims would be left
        behind."""
        known = [homes for homes in found.values() if homes is not None]
        if not known and lost:
            raise InvalidConfig("no remaining region has a record of homes; set them first with all regions present")
        unasked = {region for homes in known for region in (*homes.regions, *homes.to)} - found.keys() - set(lost)
        if unasked:
            named = ", ".join(sorted(unasked))
            raise InvalidConfig(
                f"{named} may be home to claims, and is not among this command's regions ({', '.join(found)}); name it "
                f"with --peers, and with --lost too if it is lost for good"
            )
        left = {kind for homes in known for kind in homes.types} - self.types
        if left:
            raise InvalidConfig(
                f"{', '.join(sorted(left))} are claims too, and a move includes all claims; give --types "
                f"{','.join(sorted(self.types | left))}"
            )

    def _opened_before(self, found: Mapping[str, Homes | None], new: tuple[str, ...]) -> Homes | None:
        """Return the epoch that an earlier run of the same move has opened somewhere, if no region has gone beyond it."""
        known = [homes for homes in found.values() if homes is not None]
        latest = max(known, key=lambda homes: homes.age, default=None)
        if latest is None or not latest.open or (latest.regions, latest.types) != (new, self._types):
            return None
        return latest if all(homes.opened == latest for homes in known) else None

    def _closed(self, found: Mapping[str, Homes | None], new: tuple[str, ...]) -> Homes:
        """Return the value that every region must hold before the next epoch is opened: an earlier run's, if it left no
        other one."""
        known = [homes for homes in found.values() if homes is not None]
        latest = max(known, key=lambda homes: homes.age, default=None)
        if latest is None:
            return Homes(1, new, False, self._types, new)
        same = not latest.open and (latest.to, latest.types) == (new, self._types)
        if same and all(homes == latest for homes in known if homes.epoch == latest.epoch):
            return latest
        return Homes(latest.epoch + 1, latest.regions, False, self._types, new)

    @property
    def _types(self) -> tuple[str, ...]:
        return tuple(sorted(self.types))

    def _close(self, asked: Mapping[str, ControlStorage], found: Mapping[str, Homes | None], closed: Homes) -> None:
        for region, homes in found.items():
            if homes != closed:
                self.step(f"{region}: closed for epoch {closed.epoch}")
                self._swap(region, asked[region], homes, closed)
            _repeat(asked[region], closed)  # an earlier run may have been killed before these

    def _open(self, asked: Mapping[str, ControlStorage], target: Homes) -> None:
        for region, control in asked.items():
            held = Homes.read(control)
            if held == target:
                _repeat(control, target)
                continue
            # Only from the value that this move has closed: any other belongs to another move, which may have granted
            # claims.
            if held is not None and held.opened != target:
                raise _moved(region)
            self.step(f"{region}: opening epoch {target.epoch}")
            self._swap(region, control, held, target)
            _repeat(control, target)

    @staticmethod
    def _swap(region: str, control: ControlStorage, before: Homes | None, after: Homes) -> None:
        if not control.swap(SCOPE, KEY, before.value if before else None, after.value):
            raise _moved(region)

    def _drain(self, asked: Sequence[str], new: Sequence[str], wait: float) -> None:
        """Wait until each new home has every claim that any region has. Lanes of a lost region are copied from the regions
        that have them: no replicator will."""
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
                "stay closed; check that replication runs, and run this again"
            )

    def _claims(self, at: str) -> dict[LaneId, int]:
        return {lane: last for lane, last in self.storages[at].lanes() if lane.stream.type in self.types}

    def _end(self, at: str, lane: LaneId) -> int:
        last = next(self.storages[at].read(lane, limit=1, reverse=True), None)
        return last.sequence if last is not None else 0

    def _copy(self, lane: LaneId, holder: str, there: str) -> None:
        for event in self.storages[holder].read(lane, self._end(there, lane) + 1):
            self.storages[there].insert([event])


def _moved(region: str) -> HomesNotMoved:
    return HomesNotMoved(f"{region}'s homes were changed concurrently; check that no other move is running, and run again")


def _repeat(control: ControlStorage, homes: Homes) -> None:
    """Make every stripe repeat these homes. Raises RegionUnavailable."""
    STRIPES.set(control, homes.value, lambda held: Homes.parse(held).age < homes.age, "setting the homes of claims")
