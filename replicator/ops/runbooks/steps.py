"""Steps shared by several runbooks: change a region's role, move the homes of claims, record lane heads, report missing
events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from replicator.claims.homes import HomeMover, Homes
from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId
from replicator.fencing.check_in import ask, decide
from replicator.fencing.roles import ACTIVE, REBUILDING, Role, RoleChanged, change_role, known_roles, read_role, tell_role
from replicator.ops.audit.comparison import DAMAGED, FORKED, Comparison, Finding
from replicator.ops.audit.lane_walk import head_of
from replicator.ops.audit.merkle_summary import RANGES
from replicator.ops.runbooks.runbook import Stopped
from replicator.ops.runbooks.runs import Found
from replicator.replication.heartbeat import STREAM_TYPE

if TYPE_CHECKING:
    from replicator.ops.runbooks.runbook import Going, Tell
    from replicator.ops.system import Place, System

Spans = dict[str, tuple[int, int]]

_PARALLEL = 16
_PART = 250
QUIET_SECONDS = 1.0
"""Seconds after which the index of lanes is taken to show what was begun before."""
"""Number of lanes in an item: their keys have up to 1,100 bytes, an item up to 400 KB."""


def set_role(
    system: System, region: str, name: str, why: str, to: str = "", tables: Mapping[str, str] | None = None
) -> Found:
    """Set a region's role, if it can be reached, and record it in all others that answer. Repeated with the same `why`, it
    is the same change. The role keeps the tables it was given to, unless it is given to these `tables`.

    Returns `{epoch, role, why, reached, told}`. Raises Stopped when another process changes it at the same time.
    """
    up = system.answering()
    others = {other: place.control for other, place in up.items() if other != region}
    here = up.get(region)
    own = read_role(here.control) if here is not None else None
    heard = [role for control in others.values() if (role := known_roles(control).get(region)) is not None]
    known = [*heard, own] if own else heard
    newest = max(known, key=lambda role: role.epoch, default=None)
    same = next((role for role in known if (role.name, role.why) == (name, why)), None)
    if same is not None and all(role.why == why for role in known if role.epoch >= same.epoch):
        epoch = same.epoch
    else:  # a region has epoch 1 from its first append on, which the others do not record
        epoch = max(1, newest.epoch if newest else 0) + 1
    held = tables if tables is not None else own.tables if own is not None else {}
    role = Role(epoch, name, held, same.since if same else system.wall(), to, why)
    if here is not None:
        _change(here.control, own, role, heard)
    tell_role(others.values(), region, role)
    for other, control in others.items():
        there = known_roles(control)[region]
        if there.why != why:
            raise Stopped(
                f"{other} recorded at the same time that {region} is {there.name} ({there.why}): two runs are in progress. "
                "See `replicator runs`, choose one, and run it again"
            )
    return {"epoch": epoch, "role": name, "why": why, "reached": here is not None, "told": sorted(others)}


def _change(control: ControlStorage, own: Role | None, role: Role, heard: Sequence[Role]) -> None:
    """Change the role as `change_role` does. But a region that has just come back may meanwhile adopt the role that the
    others recorded (`heard`); that is no new decision, and the caller knew it."""
    try:
        change_role(control, own, role)
    except RoleChanged:
        now = read_role(control)
        latest = max(heard, key=lambda each: each.epoch, default=None)
        if own is None or now is None or latest is None or replace(latest, tables=own.tables) != now:
            raise
        change_role(control, now, role)


def rebuilt(place: Place) -> bool:
    """Return whether a region's tables differ from those it was last active with."""
    own = read_role(place.control)
    return own is None or own.name == REBUILDING or not own.is_of(place.tables())


def role_as_it_is(system: System, region: str, gone: Collection[str] = ()) -> Role:
    """Return the role that a region would determine for itself before an append: by its own role, its tables, and the others
    except those that are `gone`. Raises RegionUnavailable."""
    up = system.answering()
    if region not in up:
        raise RegionUnavailable(f"{region} no longer answers; run this again, or name another region")
    place = up[region]
    heard = {other: ask(there.control, there.storage, region) for other, there in up.items() if other != region}
    silent = sorted(system.places.keys() - up.keys() - set(gone))
    return decide(region, read_role(place.control), place.tables(), heard, silent, system.wall())


def insist_on_writable(system: System, region: str, gone: Collection[str] = ()) -> None:
    """Raise Stopped when a region that is to take over could not be written to, whatever its role is set to."""
    role = role_as_it_is(system, region, gone)
    if role.name == REBUILDING:
        raise Stopped(
            f"{region} cannot take over: {role.why}. Name another region; or bring it up first: replicator bootstrap "
            f"{region}, with --without for regions that are lost"
        )


def insist_on_role(system: System, region: str, why: str) -> None:
    """Raise Stopped when another process has changed a region's role since a run did: writers follow the last change."""
    up = system.answering()
    known = [role for other, place in up.items() if other != region and (role := known_roles(place.control).get(region))]
    known += [own] if region in up and (own := read_role(up[region].control)) else []
    last = max(known, key=lambda role: role.epoch, default=None)
    if last is not None and last.why != why:
        raise Stopped(f"{region} is {last.name} by {last.why} now: another run has changed it; see `replicator runs`")


def activate(system: System, region: str, why: str, gone: Collection[str] = ()) -> Found:
    """Let a region accept appends, if it does not yet. Raises as `insist_on_writable`."""
    insist_on_writable(system, region, gone)
    place = system.at(region)
    own = read_role(place.control)
    if own is not None and own.active:
        change_role(place.control, own, own)
        return {"epoch": own.epoch, "role": own.name}
    if own is None:
        new = role_as_it_is(system, region, gone)
        change_role(place.control, None, new)
        return {"epoch": new.epoch, "role": new.name}
    return set_role(system, region, ACTIVE, why)


def leave_homes(system: System, going: Going, region: str, target: str, lost: Collection[str], wait: float) -> Found:
    """Move the claims homed in `region` to the other homes, or to `target` if there is none. Returns the earlier homes
    (None: there is nothing to move)."""
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
    """Move the homes of claims to these regions; every region that is not `lost` must be up."""
    homes = newest_homes(system)
    if homes is None:
        return
    controls = {region: place.control for region, place in system.places.items()}
    storages = {region: place.storage for region, place in system.places.items() if region not in lost}
    HomeMover(controls, storages, frozenset(homes.types), tell).move(sorted(to), sorted(lost), wait)


def newest_homes(system: System) -> Homes | None:
    """Return the newest homes of claims that any answering region knows."""
    found = [Homes.read(place.control) for place in system.answering().values()]
    return max((homes for homes in found if homes is not None), key=lambda homes: homes.age, default=None)


def note_ends(place: Place, region: str, to: ControlStorage, run: str) -> Found:
    """Record the head of every lane of `region` in a place. Returns {lanes, events, newest} (milliseconds)."""
    place.keeper.refresh()
    lanes = events = newest = 0
    for number in sorted(place.keeper.sums):
        held = {lane: entry for lane, entry in place.keeper.range(number).lanes.items() if lane.region == region}
        ends = sorted((lane.key, entry.sequence) for lane, entry in held.items())
        for start in range(0, len(ends), _PART):
            to.put(f"cut#{run}", {f"{number:03x}-{start}": dict(ends[start : start + _PART])})
        lanes, events = lanes + len(held), events + sum(entry.sequence for entry in held.values())
        newest = max([newest, *(entry.ms for entry in held.values())])
    return {"lanes": lanes, "events": events, "newest": newest}


def beyond(place: Place, region: str, ends: Mapping[str, int]) -> Spans:
    """Return the events of `region`'s lanes in a place behind these heads, by lane key."""
    place.keeper.refresh()
    found: Spans = {}
    for number in range(RANGES):
        if number in place.keeper.sums:
            for lane, entry in place.keeper.range(number).lanes.items():
                if lane.region == region and entry.sequence > ends.get(lane.key, 0):
                    found[lane.key] = ends.get(lane.key, 0) + 1, entry.sequence
    return found


def lanes_of(place: Place, region: str) -> list[LaneId]:
    """Return every lane of a region that its table lists."""
    return sorted(place.storage.index(region), key=lambda lane: lane.key)


def behind(source: Place, target: Place, lanes: Sequence[LaneId]) -> list[LaneId]:
    """Return those lanes whose heads differ between source and target, by the tables."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="heads") as pool:
        ours = pool.map(lambda lane: head_of(source.storage, lane), lanes)
        theirs = pool.map(lambda lane: head_of(target.storage, lane), lanes)
        return [lane for lane, here, there in zip(lanes, ours, theirs, strict=True) if here != there]


def later(source: Place, lanes: Sequence[LaneId], ends: Mapping[str, int]) -> Spans:
    """Return the lanes' events in the source's table behind these heads."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="heads") as pool:
        heads = pool.map(lambda lane: head_of(source.storage, lane), lanes)
        return {
            lane.key: (ends.get(lane.key, 0) + 1, head.sequence)
            for lane, head in zip(lanes, heads, strict=True)
            if head.sequence > ends.get(lane.key, 0)
        }


def noted_ends(control: ControlStorage, run: str) -> dict[str, int]:
    """Return the heads that `note_ends` recorded."""
    return {key: int(last) for _, value in control.get_all(f"cut#{run}") for key, last in value.items()}


def has_written(place: Place) -> bool:
    """Return whether a region has lanes of its own, besides its heartbeats'."""
    return any(lane.stream.type != STREAM_TYPE for lane in islice(place.storage.index(place.region), 2))


def note_rpo(control: ControlStorage, run: str, rpo: Spans) -> None:
    """Record a run's RPO, in parts that fit, in place of the result of an earlier try of the same step. Heartbeats do not
    count as lost."""
    control.delete(f"rpo#{run}", dict(control.get_all(f"rpo#{run}")))
    keys = sorted(key for key in rpo if LaneId.from_key(key).stream.type != STREAM_TYPE)
    for start in range(0, len(keys), _PART):
        control.put(f"rpo#{run}", {f"{start:08d}": {key: list(rpo[key]) for key in keys[start : start + _PART]}})


def noted_rpo(control: ControlStorage, run: str) -> Spans:
    """Return the RPO that `note_rpo` recorded."""
    return {key: (span[0], span[1]) for _, value in control.get_all(f"rpo#{run}") for key, span in value.items()}


def insist(system: System, comparison: Comparison, about: str, run_again: str) -> None:
    """Raise Stopped when lanes of this region, or its copies of others, are defective."""
    wrong = [finding for finding in comparison.findings if _at_fault(system, finding, about)]
    if not wrong:
        return
    bad = [finding for finding in wrong if finding.kind in (FORKED, DAMAGED)]
    if bad:
        raise Stopped(
            f"{len(bad)} lanes are forked or damaged, the first: {bad[0]}. Nothing was overwritten. See `replicator forks` "
            f"for the choices, then {run_again}"
        )
    raise Stopped(f"{len(wrong)} lanes do not agree yet, the first: {wrong[0]}; {run_again}")


def _at_fault(system: System, finding: Finding, region: str) -> bool:
    """Return whether a finding concerns the region's own lanes or its copies; for a fork, whether the region differs from
    the lane's home."""
    if not concerns(finding, {region}):
        return False
    home = system.places.get(finding.lane.region)
    if finding.kind != FORKED or finding.lane.region == region or home is None or home.region not in system.answering():
        return True
    here, there = system.at(region).storage, home.storage
    shared = min(head_of(here, finding.lane).sequence, head_of(there, finding.lane).sequence)
    at = (finding.lane, shared)
    return shared > 0 and here.get([at])[at].digest != there.get([at])[at].digest


def concerns(finding: Finding, about: Collection[str]) -> bool:
    """Return whether a finding concerns lanes of these regions, or what they hold."""
    return finding.region in about or finding.lane.region in about
