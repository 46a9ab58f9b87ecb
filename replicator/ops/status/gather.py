"""Status collection from the Merkle summaries of the regions that answer. Bringing a summary up to date takes a read a lane;
what links lack is then the difference of a few sums."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from typing import TypeVar
from weakref import WeakKeyDictionary

from botocore.exceptions import BotoCoreError, ClientError

from replicator.control.control_storage import ControlStorage
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent, MeridianError
from replicator.domain.names import LaneId
from replicator.fencing.check_in import Heard, decide
from replicator.fencing.roles import Role, known_roles, read_role
from replicator.ops.audit.merkle_summary import Entry, Share, Sum
from replicator.ops.audit.summary_keeper import Keeper
from replicator.ops.audit.threads import at_once
from replicator.ops.runbooks.runs import headers, steps_of
from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.system import Place, System
from replicator.replication.heartbeat import GRACE_MS, Beat, newest_beat, owed_from

T = TypeVar("T")

_LOOKED_AT = 20
"""Maximum number of lanes of a late link that are read to find how long the oldest event has waited."""
_SECONDS = 15.0
_LATE = "did not answer in time"
_WRONG = (MeridianError, ClientError, BotoCoreError)
"""Errors that an unhealthy region may raise."""

Depth = Callable[[str, str], int | None]
"""Callable that returns how many messages wait on a link's queue, if there is one."""

Lacking = list[tuple[LaneId, Entry, int]]

_hanging: WeakKeyDictionary[Keeper, threading.Thread] = WeakKeyDictionary()
"""Regions that did not answer in time: not queried again before they have, or every status would leave a thread."""


@dataclass(frozen=True, slots=True)
class _Told:
    """One region's report on itself: `counts` are those of its scopes (quarantines and backlogs), `queued` are the messages
    for each target, `beats` the newest heartbeats that it holds, by region, and `beat_at` is when they were read."""

    place: Place
    role: Role | None
    same_tables: bool
    known: Mapping[str, Role]
    counts: Mapping[str, int]
    queued: Mapping[str, int | None]
    runs: Sequence[RunStatus]
    beats: Mapping[str, Beat | None]
    beat_at: int

    @property
    def writes(self) -> bool:
        """Whether the region takes appends, as far as it knows."""
        return self.role is not None and self.role.active and self.same_tables

    def heartbeat(self, of: str, owed: bool) -> tuple[float | None, bool]:
        """Return the age of a region's newest heartbeat here, and whether the next one is overdue, if it is `owed`."""
        beat = self.beats.get(of)
        return (None, False) if beat is None else (beat.age(self.beat_at), owed and beat.overdue(self.beat_at))

    def own_heartbeat(self, region: str) -> tuple[float | None, bool]:
        """Return the same of this region itself. One that never wrote a heartbeat has as long as a peer has for its first
        one."""
        owed = self.same_tables and self.role is not None and owed_from(self.role) < self.beat_at
        age, overdue = self.heartbeat(region, owed)
        if age is None and owed and self.role is not None:
            overdue = Beat(owed_from(self.role) + GRACE_MS).overdue(self.beat_at)
        return age, overdue


@dataclass(slots=True)
class _Asking:
    """Queries regions in parallel, within a total number of seconds; longer only while a summary makes progress (the first
    one of many lanes takes minutes). A region that fails or does not answer is down, with the reason, and not queried
    again."""

    places: Mapping[str, Place]
    seconds: float
    until: float
    down: dict[str, str] = field(default_factory=dict)

    def ask(self, questions: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Return the regions' answers."""
        answers: dict[str, T] = {}
        failures: dict[str, Exception] = {}

        def answer(region: str, question: Callable[[], T]) -> None:
            try:
                answers[region] = question()
            except Exception as error:
                failures[region] = error

        threads = {}
        for region, question in questions.items():
            hanging = _hanging.get(self.places[region].keeper)
            if hanging is not None and hanging.is_alive():
                self.down[region] = _LATE
            elif region not in self.down:
                threads[region] = threading.Thread(target=answer, args=(region, question), daemon=True)
                threads[region].start()
        self._wait(threads)
        for region, error in dict(failures).items():
            if not isinstance(error, _WRONG):
                raise error
            self.down.setdefault(region, str(error))
        return {region: found for region, found in dict(answers).items() if region not in self.down}

    def _wait(self, threads: Mapping[str, threading.Thread]) -> None:
        ticks = {region: self.places[region].keeper.ticks for region in threads}
        ends = dict.fromkeys(threads, max(self.until, time.monotonic() + self.seconds / 3))
        waiting = list(threads)
        while waiting:
            threads[waiting[0]].join(0.05)
            now = time.monotonic()
            for region in list(waiting):
                keeper = self.places[region].keeper
                if keeper.ticks != ticks[region]:
                    ticks[region], ends[region] = keeper.ticks, max(ends[region], now + self.seconds)
                if not threads[region].is_alive():
                    waiting.remove(region)
                elif now >= ends[region]:
                    waiting.remove(region)
                    self.down[region], _hanging[keeper] = _LATE, threads[region]


def gather(system: System, prefix: str, depth: Depth = lambda source, target: None, seconds: float = _SECONDS) -> Status:
    """Collect the status of the system now. A region that answers with an error, or not within `seconds`, is down; it delays
    nothing else."""
    asking = _Asking(system.places, seconds, time.monotonic() + seconds)
    keepers = {region: place.keeper for region, place in system.places.items()}
    before = {region: keeper.read_at for region, keeper in keepers.items()}
    due = all(keeper.rested for keeper in keepers.values())
    told = asking.ask({region: partial(_tell, region, system, depth, due) for region in system.places})
    early = [region for region in told if keepers[region].read_at == before[region]]
    if 0 < len(early) < len(told):  # what links lack is the difference of regions that were read at the same time
        again = asking.ask({region: partial(_read, keepers[region]) for region in early})
        told = {region: each for region, each in told.items() if region in again or region not in early}
    links = _links(asking, told, system)
    up = {region: each for region, each in told.items() if region not in asking.down}
    regions = tuple(_region(region, up, asking.down, system) for region in sorted(system.places))
    runs = [run for each in up.values() for run in each.runs]
    return Status(system.wall(), prefix, regions, links, tuple(sorted(runs, key=lambda run: run.begun)))


def _read(keeper: Keeper) -> None:
    keeper.refresh(consistent=False)


def _tell(region: str, system: System, depth: Depth, due: bool) -> _Told:
    """Query one region alone; read its lanes if that is `due`, or was never done."""
    if region not in system.answering([region]):
        raise _Silent
    place, control = system.places[region], system.places[region].control
    if due or not place.keeper.read_at:
        _read(place.keeper)
    role = read_role(control)
    targets = [other for other in system.places if other != region]
    scopes = [*_quarantines(region, system), *(f"backlog#{region}>{target}" for target in targets)]
    counts = at_once(partial(_count, control), scopes)
    queued = at_once(lambda target: _queued(depth, region, target), targets)
    same = role is None or role.is_of(place.tables())
    at = system.wall()
    beats = dict(zip(system.places, at_once(partial(_beat, place), list(system.places)), strict=True))
    return _Told(
        place, role, same, known_roles(control), dict(zip(scopes, counts, strict=True)),
        dict(zip(targets, queued, strict=True)), _runs(control), beats, at,
    )  # fmt: skip


def _beat(place: Place, region: str) -> Beat | None:
    try:
        return newest_beat(place.storage, region)
    except DamagedEvent:  # the quarantine's concern
        return None


class _Silent(MeridianError):
    """The region does not answer at all."""


def _count(control: ControlStorage, scope: str) -> int:
    kind, _, link = scope.partition("#")
    return Quarantine(control, link).count() if kind == "quarantine" else sum(1 for _ in control.get_all(scope))


def _queued(depth: Depth, source: str, target: str) -> int | None:
    try:
        return depth(source, target)
    except _WRONG:
        return None


def _quarantines(region: str, system: System) -> list[str]:
    targets = [other for other in system.places if other != region]
    return [f"quarantine#{region}", *(f"quarantine#{region}>{target}" for target in (*targets, "views", "external"))]


def _region(region: str, up: Mapping[str, _Told], down: Mapping[str, str], system: System) -> RegionStatus:
    if region not in up:
        last = max(
            (each.known[region] for each in up.values() if region in each.known), key=lambda role: role.epoch, default=None
        )
        whys = [down.get(region, ""), f"recorded as {last.name}: {last.why}" if last else ""]
        return RegionStatus(region, False, why="; ".join(filter(None, whys)))
    told = up[region]
    role = told.role
    sums = told.place.keeper.sums.values()
    quarantined = sum(told.counts[scope] for scope in _quarantines(region, system))
    name, epoch, since, why = (role.name, role.epoch, role.since, role.why) if role else ("new", 0, 0, "")
    if not told.same_tables:
        name, why = "rebuilding", "its tables are not those that it was active with: emptied or restored"
    elif role is None:  # new, unless others have its events
        others = {other: each for other, each in up.items() if other != region}
        heard = {
            other: Heard(each.known.get(region), any(s.homes.get(region) for s in each.place.keeper.sums.values()))
            for other, each in others.items()
        }
        found = decide(region, None, {}, heard, (), system.wall())
        name, why = ("new", "") if found.active else ("rebuilding", found.why)
    lanes, events = sum(s.lanes for s in sums), sum(s.events for s in sums)
    found_at = told.place.keeper.read_at
    beats = told.own_heartbeat(region)
    return RegionStatus(region, True, name, epoch, since, why, lanes, events, quarantined, found_at, *beats)


def _links(asking: _Asking, told: Mapping[str, _Told], system: System) -> tuple[LinkStatus, ...]:
    """Return every link, as far as both its ends have answered."""
    behind = {
        (source, target): _behind(source, told[source].place.keeper, told[target].place.keeper)
        for source, target in permutations(told, 2)
    }
    targets = {source: [target for target in told if target != source] for source in told}
    lists = {source: [behind[(source, target)] for target in targets[source]] for source in told}
    found = asking.ask({source: partial(at_once, partial(_oldest, told[source].place), lists[source]) for source in told})
    oldest = {(source, target): at for source in found for target, at in zip(targets[source], found[source], strict=True)}
    up = {region: each for region, each in told.items() if region not in asking.down}

    def link(source: str, target: str) -> LinkStatus:
        here, there = up.get(source), up.get(target)
        backlog, quarantined, copied = None, 0, 0
        if here is not None:
            backlog = here.counts[f"backlog#{source}>{target}"] + (here.queued[target] or 0)
            quarantined = here.counts[f"quarantine#{source}>{target}"]
        if there is not None:
            copied = max((s.homes.get(source, Share()).newest for s in there.place.keeper.sums.values()), default=0)
        owed = here.writes and not here.heartbeat(source, True)[1] if here is not None else False
        age, overdue = there.heartbeat(source, owed) if there is not None else (None, False)
        if here is None or there is None:
            return LinkStatus(
                source, target, backlog=backlog, last_copied=copied, quarantined=quarantined, heartbeat_seconds=age,
                heartbeat_overdue=overdue,
            )  # fmt: skip
        lacking, at = behind[(source, target)], oldest[(source, target)]
        events = sum(ours.sequence - theirs for _, ours, theirs in lacking)
        seconds = max((there.place.keeper.read_at - at) / 1000, 0.0) if at is not None else 0.0
        return LinkStatus(source, target, events, len(lacking), seconds, backlog, copied, quarantined, age, overdue)

    return tuple(link(source, target) for source, target in permutations(sorted(system.places), 2))


def _differing(source: str, here: Keeper, there: Keeper) -> list[int]:
    """Return the ranges in which the source has lanes and the target may have less of them."""
    empty = Sum()
    return [n for n, held in here.sums.items() if held.homes.get(source) and held.digest != there.sums.get(n, empty).digest]


def _behind(source: str, here: Keeper, there: Keeper) -> Lacking:
    """Return the source's lanes of which the target has less, with the source's entry and the target's last sequence."""
    found = []
    for number in _differing(source, here, there):
        ours, theirs = here.range(number).lanes, there.range(number).lanes
        for lane, entry in ours.items():
            last = theirs[lane].sequence if lane in theirs else 0
            if lane.region == source and last < entry.sequence:
                found.append((lane, entry, last))
    return found


def _oldest(here: Place, behind: Lacking) -> int | None:
    """Return the time of the oldest event that the target lacks, among the lanes that seem oldest."""
    chosen = sorted(behind, key=lambda each: each[1].ms)[:_LOOKED_AT]
    try:
        found = here.storage.get([(lane, last + 1) for lane, _, last in chosen])
    except DamagedEvent:
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
