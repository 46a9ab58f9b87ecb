"""What a scenario can do: to processes, to the network, and as an operator. One small class an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from chaos.world.backup import Backup, take_backup
from chaos.world.network import PASS, Mode
from replicator.errors import InvalidConfig

if TYPE_CHECKING:
    from chaos.scenarios.stage import Stage

_WORKERS = ("replicator", "projector")


class Action:
    """One action. `start` begins it; where it is `lasting`, `stop` ends it. Its arguments are checked when it is made."""

    does: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("region",)
    required: ClassVar[tuple[str, ...]] = ("region",)
    lasting: ClassVar[bool] = True
    proxied: ClassVar[bool] = False
    """Needs links that can be cut."""

    def __init__(self, region: str) -> None:
        self.region = region

    def start(self, stage: Stage) -> None:
        """Begin, and return when it is done or under way."""

    def stop(self, stage: Stage) -> None:
        """End it."""


class Freeze(Action):
    does = "the whole region stops at one instant (SIGSTOP), and goes on later as if nothing had been"

    def start(self, stage: Stage) -> None:
        stage.region(self.region).freeze()

    def stop(self, stage: Stage) -> None:
        stage.region(self.region).thaw()
        stage.region(self.region).wait_healthy()


class Kill(Action):
    does = "everything in the region is killed (kill -9) and its data is lost; it comes back with empty tables"

    def start(self, stage: Stage) -> None:
        stage.die(self.region)

    def stop(self, stage: Stage) -> None:
        stage.region(self.region).come_back_empty()


class Restore(Kill):
    does = "as kill; it comes back with the tables of a backup that was taken when the timeline began"

    def stop(self, stage: Stage) -> None:
        stage.region(self.region).come_back_restored(stage.backup(self.region))


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
    does = "the region's replicator or projector stops (SIGSTOP) and goes on later"

    def start(self, stage: Stage) -> None:
        stage.worker(self.region, self.worker).freeze()

    def stop(self, stage: Stage) -> None:
        stage.worker(self.region, self.worker).thaw()


class _Links(Action):
    """Something happens to links: those `from` a region, `to` a region, between both, or all of them."""

    takes: ClassVar[tuple[str, ...]] = ("from", "to", "both-ways")
    required = ()
    proxied = True

    def __init__(self, leave: str | None = None, to: str | None = None, both_ways: bool = False, **how: float) -> None:
        if both_ways and not (leave or to):
            raise InvalidConfig("both-ways of all links means nothing; give from or to")
        self.leave, self.to, self.both_ways = leave, to, both_ways
        self.mode = self._mode(**how)

    def _mode(self, **how: float) -> Mode:
        raise NotImplementedError

    def start(self, stage: Stage) -> None:
        stage.network.set(self.mode, self._links(stage))

    def stop(self, stage: Stage) -> None:
        stage.network.set(PASS, self._links(stage))

    def _links(self, stage: Stage) -> list[str]:
        def matches(link: str, leave: str | None, to: str | None) -> bool:
            client, _, server = link.partition(">")
            return (leave is None or client == stage.name(leave)) and (to is None or server == stage.name(to))

        return [
            link for link in stage.network.links
            if matches(link, self.leave, self.to) or (self.both_ways and matches(link, self.to, self.leave))
        ]  # fmt: skip


class Hole(_Links):
    does = "what is sent over these links is held back, in both directions, until they are whole again"

    def _mode(self, **how: float) -> Mode:
        return Mode("hole", **how)


class Mute(_Links):
    does = "requests over these links arrive, and their answers do not"

    def _mode(self, **how: float) -> Mode:
        return Mode("mute", **how)


class Reset(_Links):
    does = "connections over these links are reset, new ones at once"

    def _mode(self, **how: float) -> Mode:
        return Mode("reset", **how)


class Slow(_Links):
    does = "these links take `latency` seconds each way and let `bandwidth` bytes a second through (0: any)"
    takes = (*_Links.takes, "latency", "bandwidth")

    def _mode(self, **how: float) -> Mode:
        if not how:
            raise InvalidConfig("a slow link needs latency or bandwidth")
        return Mode("pass", **how)


class MoveAway(Action):
    does = "an operator runs `replicator failover`: the region is fenced, its writers go to another"
    takes = ("region", "to")
    required = ("region", "to")
    lasting = False

    def __init__(self, region: str, to: str) -> None:
        super().__init__(region)
        self.to = to

    def start(self, stage: Stage) -> None:
        stage.operator.failover(self.region, self.to)


class Switch(MoveAway):
    does = "an operator runs `replicator switchover`: the region is drained, its writers go to another, nothing is missing"

    def start(self, stage: Stage) -> None:
        stage.operator.switchover(self.region, self.to)


class MoveBack(Action):
    does = "an operator runs `replicator failback`: the region is brought up to date, its writers come home"
    lasting = False

    def start(self, stage: Stage) -> None:
        stage.operator.failback(self.region)


class TakeBackup(Action):
    does = "a backup of the region's tables is taken, under load"
    lasting = False

    def start(self, stage: Stage) -> None:
        backup: Backup = take_backup(stage.region(self.region).settings)
        stage.keep_backup(self.region, backup)


ACTIONS: Mapping[str, type[Action]] = {
    "freeze": Freeze, "kill": Kill, "restore": Restore, "kill-worker": KillWorker, "freeze-worker": FreezeWorker,
    "hole": Hole, "mute": Mute, "reset": Reset, "slow": Slow, "failover": MoveAway, "switchover": Switch,
    "failback": MoveBack, "backup": TakeBackup,
}  # fmt: skip
"""Each action by its name in a scenario file."""
