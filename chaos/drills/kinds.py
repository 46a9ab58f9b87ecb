"""What a drill can do to a region, and what an operator then does about it: one small class a kind.

A kind says how its outage begins, how an operator notices, which runbook moves the writers away, how the outage ends, and
which runbook brings them home. Everything else, the load, the waiting and the judging, is the drill's (drill.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from chaos.drills.losses import OLD_SECONDS
from chaos.world.backup import Backup, take_backup
from chaos.world.network import HOLE, PASS, Mode, Network
from replicator.settings import Settings

if TYPE_CHECKING:
    from chaos.drills.stage import Stage

ALARM_SECONDS = 2.0
"""What an operator learns from an alarm about lag, not from a region that does not answer, is known after so long."""
SLOW = Mode(latency=0.3, bandwidth=100_000)
_UNTIL_GATE = 8.0
_ENOUGH = 0.4
"""Writers get to their gate together, in so many seconds at least; the region is struck when its own did so much."""
_GROWING = OLD_SECONDS + 2.0
BACKUP_AGE = 1_000
"""A backup is so many events of the region's own lanes old when the region dies (fewer in a small drill)."""


class Kind:
    """A kind of outage. `does` is one line of it for people."""

    name: ClassVar[str]
    does: ClassVar[str]
    proxied: ClassVar[bool] = False
    """Needs a network between the regions that can be cut."""
    loses: ClassVar[bool] = False
    """The region's data is lost."""
    moves: ClassVar[bool] = True
    """Writers are moved away and back. Else both sides go on."""
    stays: ClassVar[bool] = False
    """Half of the region's writers do not follow: they stay and go on writing there."""
    silent: ClassVar[bool] = True
    """Nothing leaves the region during the outage, so what others lack of it can be counted when it ends. Else it is
    counted when the writers move."""
    both_write: ClassVar[bool] = False
    """The region and the others go on writing to the end of the outage."""
    cuts: ClassVar[bool] = False
    """What is written in the region during the outage reaches no other before it ends."""
    planned: ClassVar[bool] = False
    """Nothing is wrong: no event may be missing anywhere when the writers move."""
    outage: ClassVar[float] = 0.0
    """So many seconds at least, unless the drill is told otherwise."""

    def wait(self, stage: Stage) -> None:
        """Let some load go by before the outage, but not all that the region's desks have."""
        stage.slow_down(_UNTIL_GATE)
        enough = _ENOUGH * stage.own_reports
        stage.until(lambda: stage.history.count() >= stage.strike_at or stage.own_events >= enough)

    def strike(self, stage: Stage) -> None:
        """The outage begins."""

    def noticed(self, stage: Stage, seconds: float) -> bool:
        """Whether an operator knows, so many seconds after it began."""
        return seconds >= ALARM_SECONDS

    def seen_from(self, stage: Stage) -> Settings:
        """The system as the operator reaches it: directly, unless the operator is where the others are."""
        return stage.world.settings(stage.refuge)

    def heal(self, stage: Stage) -> None:
        """The outage ends."""


class Freeze(Kind):
    name = "freeze"
    does = "the whole region stops at one instant (SIGSTOP) and goes on later, as if nothing had been"

    def strike(self, stage: Stage) -> None:
        stage.world.regions[stage.victim].freeze()

    def noticed(self, stage: Stage, seconds: float) -> bool:
        return not stage.victim_answers()

    def heal(self, stage: Stage) -> None:
        stage.world.regions[stage.victim].thaw()
        stage.world.regions[stage.victim].wait_healthy()


class Kill(Kind):
    name = "kill"
    does = "everything in the region is killed (kill -9) and its data is lost; it comes back empty"
    loses = True
    outage = 12.0

    def wait(self, stage: Stage) -> None:
        self.grow_old(stage)
        super().wait(stage)

    def grow_old(self, stage: Stage) -> None:
        """Let some of the region's events be old enough that they may not be gone. The rest of the load is for later."""
        stage.slow_down(4 * _GROWING)
        stage.until(lambda: stage.own_events > 0)
        written = stage.now
        stage.until(lambda: stage.now > written + _GROWING)
        stage.slow_down(0.0)

    def strike(self, stage: Stage) -> None:
        stage.world.regions[stage.victim].kill()

    def noticed(self, stage: Stage, seconds: float) -> bool:
        return not stage.victim_answers()

    def heal(self, stage: Stage) -> None:
        stage.world.regions[stage.victim].come_back_empty()


class Restore(Kill):
    name = "restore"
    does = "as kill, but the region comes back from a backup about 1,000 of its own events old, as new tables"

    def __init__(self) -> None:
        self._backup: Backup | None = None

    def wait(self, stage: Stage) -> None:
        self.grow_old(stage)
        own = stage.own_reports
        stage.until(lambda: stage.own_events >= 0.2 * own)
        self._backup = take_backup(stage.world.settings(stage.victim))
        taken, age = stage.own_events, min(BACKUP_AGE, int(0.35 * own))
        stage.watch.say(f"a backup of {stage.victim} was taken under load, after {taken:,} events of its own")
        stage.losses.survive(
            bytes(item["digest"]["B"]) for item in self._backup.items(stage.world.settings(stage.victim).events_table)
        )
        stage.until(lambda: stage.own_events >= taken + age or stage.own_at_gate)
        stage.watch.say(f"the backup is {stage.own_events - taken:,} events old")

    def heal(self, stage: Stage) -> None:
        assert self._backup is not None
        stage.world.regions[stage.victim].come_back_restored(self._backup)


class _Cut(Kind):
    """Links are at fault."""

    proxied = True
    outage = 10.0

    def links(self, network: Network, victim: str) -> tuple[str, ...]:
        return (*network.outgoing(victim), *network.incoming(victim))

    def mode(self) -> Mode:
        return HOLE

    def strike(self, stage: Stage) -> None:
        stage.network.set(self.mode(), self.links(stage.network, stage.victim))

    def heal(self, stage: Stage) -> None:
        stage.network.set(PASS)


class Partition(_Cut):
    name = "partition"
    does = "the region and all others cannot reach each other; clients reach both, so both sides go on writing"
    moves = False
    both_write = True
    cuts = True

    def noticed(self, stage: Stage, seconds: float) -> bool:
        return True


class OneWay(_Cut):
    name = "one-way"
    does = "what the region's processes send to the others is lost; it hears them, they do not hear it"
    cuts = True

    def links(self, network: Network, victim: str) -> tuple[str, ...]:
        return network.outgoing(victim)


class Slow(_Cut):
    name = "slow"
    silent = False
    does = f"every link of the region takes {SLOW.latency * 1000:.0f} ms each way and {SLOW.bandwidth / 1000:.0f} kB/s"

    def mode(self) -> Mode:
        return SLOW


class SplitBrain(_Cut):
    name = "split-brain"
    does = "a partition of a minute; the others fence the region, which never hears of it and goes on writing"
    stays = True
    both_write = True
    cuts = True
    outage = 60.0

    def seen_from(self, stage: Stage) -> Settings:
        return stage.world.inside(stage.refuge)


class Planned(Kind):
    name = "switchover"
    does = "nothing fails: the writers are moved away for maintenance, and back"
    planned = True
    silent = False

    def noticed(self, stage: Stage, seconds: float) -> bool:
        return True


KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Freeze, Kill, Restore, Partition, OneWay, Slow, SplitBrain, Planned)
}
"""Each kind by its name on the command line."""
