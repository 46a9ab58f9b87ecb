"""Fence: the check of a region's role, as the writers of one process see it.

Two strengths, by stream type. Leased: the role is read at most `lease` seconds before a write begins; costs a small read
every `lease` seconds. Checked: the write's own transaction includes a condition check of the fence, so that no write after
the fence was closed can land; costs the write twice its units, and two for the check.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection
from threading import Lock

import structlog

from replicator.control.control_storage import ControlStorage, Guard
from replicator.control.stripes import COUNT
from replicator.domain.errors import RegionUnavailable
from replicator.fencing.check_in import CheckIn, decide
from replicator.fencing.roles import REBUILDING, ROLE_KEY, ROLE_SCOPE, Role, read_role, set_stripes

log = structlog.get_logger()

EVERY_TYPE = "*"
_SEEN_SECONDS = 10.0
"""Seconds without a read of the role after which a process checks the identities of the tables again: emptying or restoring
a region takes longer."""


class RegionFenced(RegionUnavailable):
    """The region accepts no appends now. Nothing was written; write in another region, or wait until it is active again."""

    def __init__(self, region: str, role: Role) -> None:
        self.role = role
        elsewhere = f"write in {role.to}" if role.to else "write in another region"
        remedy = (
            f"or bring it up first: replicator bootstrap {region}"
            if role.name == REBUILDING
            else "or wait until it is active"
        )
        why = f" ({role.why})" if role.why else ""
        super().__init__(
            f"{region} is {role.name} in epoch {role.epoch}{why}; nothing was written. {elsewhere.capitalize()}, {remedy}"
        )


class Fence:
    """Permits appends of one region while it is active. Safe to share between threads.

    `wall` is in milliseconds since the epoch, `monotonic` and `lease` are seconds.
    """

    def __init__(
        self,
        region: str,
        control: ControlStorage,
        check_in: CheckIn,
        checked: Collection[str] = (),
        lease: float = 2.0,
        *,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self._region = region
        self._control = control
        self._around = check_in
        self._checked = frozenset(checked)
        self._wall = wall
        self._monotonic = monotonic
        self._lock = Lock()
        self._role: Role | None = None
        self._read_at = 0.0
        self._known: Role | None = None
        self.pick: Callable[[int], int] = random.randrange
        """Chooses one of so many stripes."""

    def role(self) -> Role:
        """Return the region's role, read at most `lease` seconds ago. Raises RegionUnavailable."""
        with self._lock:
            now = self._monotonic()
            if self._role is None or now - self._read_at >= self.lease:
                self._role, self._read_at = self._look(now), now
            return self._role

    def epoch(self) -> int:
        """Return the epoch of the region's role. Raises RegionUnavailable."""
        return self.role().epoch

    def guards(self, types: Collection[str]) -> tuple[Guard, ...]:
        """Permit a write to streams of these types: return the condition checks of its transaction. Raises RegionFenced."""
        role = self.role()
        if not role.active:
            raise RegionFenced(self._region, role)
        if EVERY_TYPE in self._checked or not self._checked.isdisjoint(types):
            return (role.guard(self.pick(COUNT)),)
        return ()

    def holds(self, guards: Collection[Guard]) -> bool:
        """Return whether the conditions from `guards` still hold. If not, the role is read again before the next write."""
        if not guards:
            return True
        held = [self._control.get(guard.scope, guard.key) for guard in guards]
        if held == [guard.value for guard in guards]:
            return True
        self.failed()
        own = read_role(self._control)
        if own is not None and None in held:
            set_stripes(self._control, own)  # the process that changed the role was killed before these
        return False

    def failed(self) -> None:
        """Record a failed write: before the next one, check that this is still the same region."""
        with self._lock:
            self._role, self._read_at = None, -math.inf

    def _look(self, now: float) -> Role:
        own = read_role(self._control)
        seen = self._known is not None and now - self._read_at < _SEEN_SECONDS
        if own is not None and seen and own == self._known:
            return own
        if own is not None and self._known is not None and own.is_of(self._around.tables()):
            self._known = own  # changed, or not checked for long: judged by the region's own record
            return own
        return self._check_in(own)

    def _check_in(self, own: Role | None) -> Role:
        tables = dict(self._around.tables())
        heard, silent = self._around.ask(own is None)
        if own is None:  # another process may have begun meanwhile; peers then have its events
            own = read_role(self._control)
        role = decide(self._region, own, tables, heard, silent, self._wall())
        if own is None and role.active:
            self._around.check()
            if not self._control.swap(ROLE_SCOPE, ROLE_KEY, None, role.value):
                own = read_role(self._control)
                role = role if own is None else decide(self._region, own, tables, heard, silent, self._wall())
            set_stripes(self._control, role)
        if not role.active:
            log.warning("fence.closed", region=self._region, role=role.name, epoch=role.epoch, why=role.why)
            self._known = None  # ask again, until the role is known
            return role
        self._known = role
        return role
