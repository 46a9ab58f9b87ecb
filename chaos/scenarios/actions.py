"""What a scenario can do: to processes, to the network, and as an operator. One small class an action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from chaos.faults.clocks import check_offset
from chaos.faults.rules import Rule, parse_rules
from chaos.scenarios.scenario import ORDINALS
from chaos.world.backup import Backup, take_backup
from chaos.world.links import DIRECTIONS
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
    faulty: ClassVar[bool] = False
    """Needs services that can fail."""
    clocks: ClassVar[bool] = False
    """Needs clocks that can be set."""
    whole: ClassVar[str] = ""
    """What it does to the whole region, its tables and all, which must run on this machine for that."""

    def __init__(self, region: str) -> None:
        self.region = region

    @property
    def acts_on(self) -> Iterable[str]:
        """The regions that it names: first, second …"""
        return [self.region]

    def start(self, stage: Stage) -> None:
        """Begin, and return when it is done or under way."""

    def stop(self, stage: Stage) -> None:
        """End it."""


class Freeze(Action):
    does = "the whole region stops at one instant (SIGSTOP), and goes on later as if nothing had been"
    whole = "freezes a region"

    def start(self, stage: Stage) -> None:
        stage.region(self.region).freeze()

    def stop(self, stage: Stage) -> None:
        stage.region(self.region).thaw()
        stage.region(self.region).wait_healthy()


class Kill(Action):
    does = "everything in the region is killed (kill -9) and its data is lost; it comes back with empty tables"
    whole = "kills a region"

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


class _Links(Action, ABC):
    """Something happens to links: those `from` a region, `to` a region, between both, or all of them."""

    takes: ClassVar[tuple[str, ...]] = ("from", "to", "both-ways")
    required = ()
    proxied = True

    def __init__(self, leave: str | None = None, to: str | None = None, both_ways: bool = False, **how: float) -> None:
        if both_ways and not (leave or to):
            raise InvalidConfig("both-ways of all links means nothing; give from or to")
        self.leave, self.to, self.both_ways = leave, to, both_ways
        self.mode = self._mode(**how)

    @property
    def acts_on(self) -> Iterable[str]:
        return [each for each in (self.leave, self.to) if each]

    @abstractmethod
    def _mode(self, **how: float) -> Mode:
        """What the links do. Raises InvalidConfig, or TypeError for what it does not take."""

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


class HalfOpen(_Links):
    does = "the connections over these links die without a word to either end; new ones pass"

    def _mode(self, **how: float) -> Mode:
        return Mode("half-open", **how)


class Slow(_Links):
    does = (
        "these links take `latency` seconds (give or take `jitter`), pass `bandwidth` bytes a second on (0: any) and lose "
        "a share `loss` of what is sent, which is sent again; in `direction` there, back or both"
    )
    takes = (*_Links.takes, "latency", "jitter", "bandwidth", "loss", "direction")

    def __init__(
        self, leave: str | None = None, to: str | None = None, both_ways: bool = False, direction: str = "both", **how: float
    ) -> None:
        super().__init__(leave, to, both_ways, **how)
        if direction not in DIRECTIONS:
            raise InvalidConfig(f"direction is {direction!r}; choose from {', '.join(DIRECTIONS)}")
        self.direction = direction

    def _mode(self, **how: float) -> Mode:
        if not any(how.values()):
            raise InvalidConfig("a slow link needs latency, jitter, bandwidth or loss")
        return Mode("pass", **how)

    def start(self, stage: Stage) -> None:
        stage.network.set(self.mode, self._links(stage), self.direction)


class SetClock(Action):
    does = "the clock of the region's programs and clients jumps `seconds` ahead (negative: back), and later is right again"
    takes = ("region", "seconds")
    required = takes
    clocks = True

    def __init__(self, region: str, seconds: float) -> None:
        super().__init__(region)
        if type(seconds) not in (int, float) or not seconds:
            raise InvalidConfig(f"seconds is {seconds!r}; give a number other than 0")
        check_offset(seconds)
        self.seconds = seconds

    def start(self, stage: Stage) -> None:
        stage.clock(self.region).set(self.seconds)

    def stop(self, stage: Stage) -> None:
        stage.clock(self.region).set(0)


class Fail(Action):
    does = "services fail as `rules` say, which are LocalStack's chaos rules (docs/chaos.md); a rule's region may be first …"
    takes = ("rules",)
    required = takes
    faulty = True

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self._given = rules
        self.rules(dict.fromkeys(ORDINALS, "us-east-1"))

    @property
    def acts_on(self) -> Iterable[str]:
        return [each["region"] for each in self._given if each.get("region") in ORDINALS]

    def rules(self, names: Mapping[str, str]) -> tuple[Rule, ...]:
        """The rules where regions have these names. Raises InvalidConfig."""
        if not isinstance(self._given, Sequence) or not self._given or isinstance(self._given, str):
            raise InvalidConfig("rules are a list of at least one; [{}] fails every request")
        named = [
            {**each, "region": names.get(each["region"], each["region"])} if isinstance(each, Mapping) and "region" in each
            else each
            for each in self._given
        ]  # fmt: skip
        return tuple(
            replace(rule, seed=number) if rule.seed is None else rule for number, rule in enumerate(parse_rules(named))
        )

    def start(self, stage: Stage) -> None:
        stage.services.add(self.rules(stage.names))

    def stop(self, stage: Stage) -> None:
        own = list(self.rules(stage.names))
        for each in stage.services.told():
            if each.active and each.rule in own:
                by = ", ".join(f"{name} {count:,}" for name, count in sorted(each.by.items()))
                stage.remark(f"{each.rule}: struck {each.struck:,} of {each.seen:,} ({by or 'none'})", each.struck > 0)
        left = list(stage.services.rules())
        for rule in own:
            left.remove(rule)
        stage.services.set(left)


class MoveAway(Action):
    does = "an operator runs `replicator failover`: the region is fenced, its writers go to another"
    takes = ("region", "to")
    required = ("region", "to")
    lasting = False

    def __init__(self, region: str, to: str) -> None:
        super().__init__(region)
        self.to = to

    @property
    def acts_on(self) -> Iterable[str]:
        return [self.region, self.to]

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
    "hole": Hole, "mute": Mute, "reset": Reset, "half-open": HalfOpen, "slow": Slow, "clock": SetClock, "fail": Fail,
    "failover": MoveAway, "switchover": Switch,
    "failback": MoveBack, "backup": TakeBackup,
}  # fmt: skip
"""Each action by its name in a scenario file."""
