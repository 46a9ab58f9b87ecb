"""Actions of scenarios: on processes and as an operator here; on the network in link_actions.py, and on services and clocks
in service_actions.py. Each action is one small class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chaos.child_processes import Process
from chaos.scenarios.action import Action
from chaos.scenarios.link_actions import HalfOpen, Hole, Mute, Reset, Slow
from chaos.scenarios.runbook_runner import Operator
from chaos.scenarios.service_actions import Fail, SetClock
from chaos.scenarios.stage import Stage
from chaos.world.backup import Backup, take_backup
from replicator.domain.errors import InvalidConfig

__all__ = ["ACTIONS", "Action", "Fail"]

_WORKERS = ("replicator", "projector")


class _Whole(Action):
    """Action on all processes of a region. `_pids` are those that ran and were not stopped before."""

    def __init__(self, region: str) -> None:
        super().__init__(region)
        self._pids: dict[Process, int] = {}

    @property
    def holds(self) -> frozenset[str]:
        return frozenset({f"the {each} of the {self.region} region" for each in ("emulator", *_WORKERS)})

    def silences(self, region: str) -> bool:
        return region == self.region

    def _look(self, stage: Stage) -> None:
        stage.beat()  # processes that were just killed are started again
        self._pids = {each: each.pid for each in self._all(stage) if each.running and not each.stopped}

    def _all(self, stage: Stage) -> list[Process]:
        """Return the region's processes: the emulator, and its workers unless functions do the work."""
        region = stage.region(self.region)
        return [each for each in region.processes if each in region.workers or each is region.emulator]


class Freeze(_Whole):
    does = "the whole region stops at one instant (SIGSTOP), and continues later as if it had never stopped"
    whole = "freezes a region"

    def start(self, stage: Stage) -> None:
        self._look(stage)
        stage.region(self.region).freeze()

    def stop(self, stage: Stage) -> None:
        region = stage.region(self.region)
        still = [each for each, pid in self._pids.items() if each.stopped and each.pid == pid]
        stage.remark(
            f"{len(still)} of {len(self._all(stage))} processes stayed stopped to the end",
            len(still) == len(self._all(stage)),
        )
        region.thaw()
        region.wait_healthy()


class Kill(_Whole):
    does = "everything in the region is killed (kill -9) and its data is lost; it comes back with empty tables"
    whole = "kills a region"

    def start(self, stage: Stage) -> None:
        self._look(stage)
        stage.die(self.region)

    def stop(self, stage: Stage) -> None:
        dead = [each for each, pid in self._pids.items() if not each.running and each.pid == pid]
        stage.remark(
            f"{len(dead)} of {len(self._all(stage))} processes were killed and stayed down to the end",
            len(dead) == len(self._all(stage)),
        )
        stage.come_back(self.region, self._backup(stage))

    def _backup(self, stage: Stage) -> Backup | None:
        """Return the backup that the region comes back with; None: empty tables."""
        return None


class Restore(Kill):
    does = "as kill; it comes back with the tables of the last `backup`, as new tables"

    def _backup(self, stage: Stage) -> Backup | None:
        return stage.backup(self.region)


class _Worker(Action):
    takes = ("region", "worker")

    def __init__(self, region: str, worker: str = "replicator") -> None:
        super().__init__(region)
        if worker not in _WORKERS:
            raise InvalidConfig(f"worker is {worker!r}; choose from {', '.join(_WORKERS)}")
        self.worker = worker


class KillWorker(_Worker):
    does = "kill -9 to the region's replicator or projector; it is started again at once, as a supervisor does"
    lasting = False

    def start(self, stage: Stage) -> None:
        stage.kill_worker(self.region, self.worker)


class FreezeWorker(_Worker):
    does = "the region's replicator or projector stops (SIGSTOP) and continues later"

    def __init__(self, region: str, worker: str = "replicator") -> None:
        super().__init__(region, worker)
        self._pid = 0
        """Process id of the frozen process; 0: it did not run, or was stopped already."""

    @property
    def holds(self) -> frozenset[str]:
        return frozenset({f"the {self.worker} of the {self.region} region"})

    def start(self, stage: Stage) -> None:
        stage.beat()
        process = stage.worker(self.region, self.worker)
        self._pid = process.pid if process.running and not process.stopped else 0
        process.freeze()

    def stop(self, stage: Stage) -> None:
        process = stage.worker(self.region, self.worker)
        if not self._pid:
            stage.remark(f"{process.name} did not run when the freeze began", False)
        elif process.pid != self._pid or not process.stopped:
            stage.remark(f"{process.name} (process {self._pid}) did not stay stopped to the end", False)
        else:
            stage.remark(f"{process.name} (process {self._pid}) stayed stopped to the end")
        process.thaw()


class MoveAway(Action):
    does = "an operator runs `replicator failover`: the region is fenced, its writers go to another"
    takes: ClassVar[tuple[str, ...]] = ("region", "to", "inside")
    required = ("region", "to")
    lasting = False
    moves = True

    def __init__(self, region: str, to: str, inside: bool = False) -> None:
        super().__init__(region)
        if region == to:
            raise InvalidConfig(f"the writers of the {region} region cannot go from it to itself; name another")
        if not isinstance(inside, bool):
            raise InvalidConfig(f"inside is {inside!r}; give true or false")
        self.to = to
        self.inside = inside

    @property
    def acts_on(self) -> Iterable[str]:
        return [self.region, self.to]

    def start(self, stage: Stage) -> None:
        Operator(stage).failover(self.region, self.to, self.inside)


class Switch(MoveAway):
    takes = ("region", "to")
    does = "an operator runs `replicator switchover`: the region is drained, its writers go to another, nothing is missing"

    def start(self, stage: Stage) -> None:
        Operator(stage).switchover(self.region, self.to)


class MoveBack(Action):
    does = "an operator runs `replicator failback`: the region is brought up to date, its writers come home"
    lasting = False

    def start(self, stage: Stage) -> None:
        Operator(stage).failback(self.region)


class TakeBackup(Action):
    does = "a backup of the region's tables is taken, under load"
    lasting = False

    def start(self, stage: Stage) -> None:
        backup: Backup = take_backup(stage.region(self.region).settings)
        events = stage.keep_backup(self.region, backup)
        stage.remark(f"{events:,} events", events > 0)


ACTIONS: Mapping[str, type[Action]] = {
    "freeze": Freeze, "kill": Kill, "restore": Restore, "kill-worker": KillWorker, "freeze-worker": FreezeWorker,
    "hole": Hole, "mute": Mute, "reset": Reset, "half-open": HalfOpen, "slow": Slow, "clock": SetClock, "fail": Fail,
    "failover": MoveAway, "switchover": Switch,
    "failback": MoveBack, "backup": TakeBackup,
}  # fmt: skip
"""Actions by their names in a scenario file."""


def make(name: str, arguments: Mapping[str, object]) -> Action:
    """Return the action of that name. Raises InvalidConfig, and TypeError for arguments that it does not take."""
    return ACTIONS[name](**{key.replace("-", "_").replace("from", "leave"): v for key, v in arguments.items()})  # type: ignore[arg-type]
