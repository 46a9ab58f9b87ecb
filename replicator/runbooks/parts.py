"""What several runbooks do: change a region's role, move the homes of claims, note where lanes stand and tell what lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from replicator.audit.comparison import DAMAGED, FORKED, Comparison, Finding
from replicator.audit.ledger import RANGES
from replicator.claims.homes import HomeMover, Homes
from replicator.control import ControlStorage
from replicator.domain.names import LaneId
from replicator.fencing.roles import REBUILDING, Role, change_role, known_roles, read_role, tell_role
from replicator.runbooks.runbook import Stopped
from replicator.runbooks.runs import Found

if TYPE_CHECKING:
    from replicator.runbooks.runbook import Going, Tell
    from replicator.system import Place, System

Spans = dict[str, tuple[int, int]]


def set_role(system: System, region: str, name: str, why: str, to: str = "") -> Found:
    """Make a region be this, where it can be reached, and let all others that answer know. Repeated with the same `why`, it
    is the same change. Returns {epoch, role, reached, told}."""
    up = system.answering()
    others = [place.control for other, place in up.items() if other != region]
    told = [role for control in others if (role := known_roles(control).get(region)) is not None]
    here = up.get(region)
    own = read_role(here.control) if here is not None else None
    known = [*told, *([own] if own else [])]
    same = next((role for role in known if (role.name, role.why) == (name, why)), None)
    # A region has epoch 1 from its first append on, of which nobody is told.
    epoch = same.epoch if same else max([1, *(role.epoch for role in known)]) + 1
    role = Role(epoch, name, here.tables() if here else {}, same.since if same else system.wall(), to, why)
    if here is not None:
        if own is None or own.epoch <= epoch:
            change_role(here.control, own, role)
        else:
            raise Stopped(f"{region} is {own.name} in epoch {own.epoch} already ({own.why}); somebody else is at it")
    tell_role(others, region, role)
    return {"epoch": epoch, "role": name, "reached": here is not None, "told": sorted(up.keys() - {region})}


def rebuilt(place: Place) -> bool:
    """Whether a region's tables are others than those it was last active with."""
    own = read_role(place.control)
    return own is None or own.name == REBUILDING or not own.is_of(place.tables())


def leave_homes(system: System, going: Going, region: str, target: str, lost: Collection[str], wait: float) -> Found:
    """Move the claims that are homed in `region` to the other homes, or to `target` where there is none. Returns the homes
    as they were before (None: there is nothing to move)."""
    noted = dict(going.control.get_all(f"homes#{going.run}"))
    homes = newest_homes(system)
    if "before" not in noted:
        if homes is None or region not in (*homes.regions, *homes.to):
            return {"homes": None}
        going.control.put(f"homes#{going.run}", {"before": {"homes": list(homes.opened.regions)}})
        noted["before"] = {"homes": list(homes.opened.regions)}
    before = noted["before"]["homes"]
    move_homes(system, [home for home in before if home != region] or [target], lost, wait, going.tell)
    return {"homes": before, "moved": True}


def move_homes(system: System, to: Collection[str], lost: Collection[str], wait: float, tell: Tell) -> None:
    """Move the homes of claims to these regions; none that is not `lost` may be down."""
    homes = newest_homes(system)
    if homes is None:
        return
    controls = {region: place.control for region, place in system.places.items()}
    storages = {region: place.storage for region, place in system.places.items() if region not in lost}
    HomeMover(controls, storages, frozenset(homes.types), tell).move(sorted(to), sorted(lost), wait)


def newest_homes(system: System) -> Homes | None:
    """The homes of claims as the regions that answer know them."""
    found = [Homes.read(place.control) for place in system.answering().values()]
    return max((homes for homes in found if homes is not None), key=lambda homes: homes.age, default=None)


def note_ends(place: Place, region: str, to: ControlStorage, run: str) -> Found:
    """Note where every lane of `region` ends in a region. Returns {lanes, events, newest} (milliseconds)."""
    place.keeper.refresh()
    place.keeper.load(place.keeper.sums)
    lanes = events = newest = 0
    for number in sorted(place.keeper.sums):
        held = {lane: entry for lane, entry in place.keeper.range(number).lanes.items() if lane.region == region}
        if held:
            to.put(f"cut#{run}", {f"{number:03x}": {lane.key: entry.sequence for lane, entry in held.items()}})
        lanes, events = lanes + len(held), events + sum(entry.sequence for entry in held.values())
        newest = max([newest, *(entry.ms for entry in held.values())])
    return {"lanes": lanes, "events": events, "newest": newest}


def beyond(place: Place, region: str, ends: Mapping[str, int]) -> Spans:
    """What a region has of `region`'s lanes behind these ends, by lane key."""
    place.keeper.refresh()
    place.keeper.load(place.keeper.sums)
    found: Spans = {}
    for number in range(RANGES):
        if number in place.keeper.sums:
            for lane, entry in place.keeper.range(number).lanes.items():
                if lane.region == region and entry.sequence > ends.get(lane.key, 0):
                    found[lane.key] = ends.get(lane.key, 0) + 1, entry.sequence
    return found


def noted_ends(control: ControlStorage, run: str) -> dict[str, int]:
    """What `note_ends` noted."""
    return {key: int(last) for _, value in control.get_all(f"cut#{run}") for key, last in value.items()}


def note_rpo(control: ControlStorage, run: str, rpo: Spans) -> None:
    """Keep what a run found of the RPO, in parts that fit."""
    keys = sorted(rpo)
    for start in range(0, len(keys), 500):
        control.put(f"rpo#{run}", {f"{start:08d}": {key: list(rpo[key]) for key in keys[start : start + 500]}})


def noted_rpo(control: ControlStorage, run: str) -> Spans:
    """What `note_rpo` kept."""
    return {key: (span[0], span[1]) for _, value in control.get_all(f"rpo#{run}") for key, span in value.items()}


def insist(comparison: Comparison, about: Collection[str], run_again: str) -> None:
    """Raise Stopped when something is wrong with lanes of these regions, or in them."""
    wrong = [finding for finding in comparison.findings if concerns(finding, about)]
    if not wrong:
        return
    bad = [finding for finding in wrong if finding.kind in (FORKED, DAMAGED)]
    if bad:
        raise Stopped(
            f"{len(bad)} lanes are forked or damaged, the first: {bad[0]}. Nothing was overwritten. See `replicator forks` "
            f"for the choices, then {run_again}"
        )
    raise Stopped(f"{len(wrong)} lanes do not agree yet, the first: {wrong[0]}; {run_again}")


def concerns(finding: Finding, about: Collection[str]) -> bool:
    return finding.region in about or finding.lane.region in about or finding.holder in about


def lane_of(key: str) -> LaneId:
    return LaneId.from_key(key)
