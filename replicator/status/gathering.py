"""How a system stands, from the ledgers of the regions that answer. Bringing a ledger up to date reads what has changed;
what links lack is then the difference of a few sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from replicator.audit.keeper import Keeper
from replicator.audit.ledger import Entry, Share, Sum
from replicator.control import ControlStorage
from replicator.domain.names import LaneId
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.fencing.roles import known_roles, read_role
from replicator.runbooks.runs import headers, steps_of
from replicator.status.model import LinkStatus, RegionStatus, RunStatus, Status
from replicator.system import Place, System

_LOOKED_AT = 20
"""So many lanes of a link that is behind are looked at to see how long the oldest event has waited."""

Depth = Callable[[str, str], int | None]
"""How many messages wait on a link's queue, where there is one."""


def gather(system: System, prefix: str, depth: Depth = lambda source, target: None) -> Status:
    """How the system stands now. A region that does not answer is down; nothing else is held up by it."""
    up = _refreshed(system.answering())
    now = system.wall()
    regions = tuple(_region(region, up.get(region), up, system) for region in sorted(system.places))
    with ThreadPoolExecutor(8, thread_name_prefix="status") as pool:
        pairs = [(s, t) for s in sorted(system.places) for t in sorted(system.places) if s != t]
        links = tuple(pool.map(lambda pair: _link(pair[0], pair[1], up, now, depth), pairs))
    runs = tuple(run for place in up.values() for run in _runs(place.control))
    return Status(now, prefix, regions, links, tuple(sorted(runs, key=lambda run: run.begun)))


def _refreshed(places: Mapping[str, Place]) -> dict[str, Place]:
    def refresh(place: Place) -> bool:
        try:
            place.keeper.refresh()
        except RegionUnavailable:
            return False
        return True

    with ThreadPoolExecutor(max(len(places), 1), thread_name_prefix="status") as pool:
        done = list(pool.map(refresh, places.values()))
    return {region: place for (region, place), there in zip(places.items(), done, strict=True) if there}


def _region(region: str, place: Place | None, up: Mapping[str, Place], system: System) -> RegionStatus:
    if place is None:
        told = [role for other in up.values() if (role := known_roles(other.control).get(region)) is not None]
        last = max(told, key=lambda role: role.epoch, default=None)
        return RegionStatus(region, False, why=f"told to be {last.name}: {last.why}" if last else "")
    role = read_role(place.control)
    sums = place.keeper.sums.values()
    held = RegionStatus(region, True, lanes=sum(s.lanes for s in sums), events=sum(s.events for s in sums))
    quarantined = sum(_count(place.control, scope) for scope in _quarantines(region, system))
    name, epoch, since, why = (role.name, role.epoch, role.since, role.why) if role else ("new", 0, 0, "")
    if role is not None and not role.is_of(place.tables()):
        name, why = "rebuilding", "its tables are not those that it was active with: emptied or restored"
    return RegionStatus(region, True, name, epoch, since, why, held.lanes, held.events, quarantined)


def _quarantines(region: str, system: System) -> list[str]:
    targets = [other for other in system.places if other != region]
    return [f"quarantine#{region}", *(f"quarantine#{region}>{target}" for target in (*targets, "views", "external"))]


def _count(control: ControlStorage, scope: str) -> int:
    return sum(1 for _ in control.get_all(scope))


def _link(source: str, target: str, up: Mapping[str, Place], now: int, depth: Depth) -> LinkStatus:
    here, there = up.get(source), up.get(target)
    backlog = None
    quarantined = 0
    if here is not None:
        queued = depth(source, target)
        backlog = _count(here.control, f"backlog#{source}>{target}") + (queued or 0)
        quarantined = _count(here.control, f"quarantine#{source}>{target}")
    copied = max((s.homes.get(source, Share()).newest for s in there.keeper.sums.values()), default=0) if there else 0
    if here is None or there is None:
        return LinkStatus(source, target, backlog=backlog, last_copied=copied, quarantined=quarantined)
    behind = _behind(source, here.keeper, there.keeper)
    events = sum(ours.sequence - theirs for _, ours, theirs in behind)
    oldest = _oldest(here, behind)
    seconds = max((now - oldest) / 1000, 0.0) if oldest is not None else 0.0
    return LinkStatus(source, target, events, len(behind), seconds, backlog, copied, quarantined)


def _behind(source: str, here: Keeper, there: Keeper) -> list[tuple[LaneId, Entry, int]]:
    """The source's lanes of which the target has less: with where they end at the source, and at the target."""
    empty = Sum()
    numbers = [
        n for n, held in here.sums.items() if held.homes.get(source) and held.digest != there.sums.get(n, empty).digest
    ]
    here.load(numbers)
    there.load(numbers)
    found = []
    for number in numbers:
        ours, theirs = here.range(number).lanes, there.range(number).lanes
        for lane, entry in ours.items():
            last = theirs[lane].sequence if lane in theirs else 0
            if lane.region == source and last < entry.sequence:
                found.append((lane, entry, last))
    return found


def _oldest(here: Place, behind: list[tuple[LaneId, Entry, int]]) -> int | None:
    """The time of the oldest event that the target lacks, among the lanes that look oldest."""
    chosen = sorted(behind, key=lambda each: each[1].ms)[:_LOOKED_AT]
    try:
        found = here.storage.get([(lane, last + 1) for lane, _, last in chosen])
    except (DamagedEvent, RegionUnavailable):
        return min((entry.ms for _, entry, _ in chosen), default=None)
    return min((event.hlc.ms for event in found.values()), default=None)


def _runs(control: ControlStorage) -> list[RunStatus]:
    open_runs = []
    for header in headers(control):
        if not header.end:
            steps = steps_of(control, header.run)
            at = next(
                (name for name, value in steps.items() if value["ended"] is None), list(steps)[-1] if steps else "begun"
            )
            open_runs.append(RunStatus(header.run, header.kind, header.text, header.begun, at, None))
    return open_runs
