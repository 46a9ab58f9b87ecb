"""Role of a region: whether it accepts appends. Kept in its own control state. Other regions keep what they know of it in
theirs, so that a region which was unreachable when it was fenced learns of it when it comes back.

An epoch, the fencing token, belongs to one change of role and only grows. Changes are decided on the role record (compare
and set); stripes (replicator/control/stripes.py) repeat it for writes that check the fence in their own transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from replicator.control.control_storage import ControlStorage, Guard, tries
from replicator.control.stripes import Stripes
from replicator.domain.errors import MeridianError

ACTIVE, DRAINING, FENCED, REBUILDING = "active", "draining", "fenced", "rebuilding"
ROLE_SCOPE, ROLE_KEY = "role", "self"
KNOWN_SCOPE = "roles"
FENCE_SCOPE = "fence"
FENCE = Stripes(FENCE_SCOPE)
"""Stripes of a region's fence. Those of versions before 0.3.0 are among the first."""


class RoleChanged(MeridianError):
    """Another process changed a region's role at the same time. Read it again."""


@dataclass(frozen=True, slots=True)
class Role:
    """Role of a region in one epoch.

    `name` is active, draining, fenced or rebuilding; only an active region accepts appends. `tables` are the identities of
    the tables that the role was given to, by name: others are emptied or restored ones. `since` is in milliseconds since the
    epoch, `to` names the region to write in instead (empty: none in particular), `why` gives the reason.
    """

    epoch: int
    name: str
    tables: Mapping[str, str] = field(default_factory=dict)
    since: int = 0
    to: str = ""
    why: str = ""

    @property
    def active(self) -> bool:
        return self.name == ACTIVE

    @property
    def value(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch, "role": self.name, "tables": dict(self.tables), "since": self.since, "to": self.to,
            "why": self.why,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Role:
        return cls(
            int(value["epoch"]), str(value["role"]), dict(value.get("tables", {})), int(value.get("since", 0)),
            str(value.get("to", "")), str(value.get("why", "")),
        )  # fmt: skip

    def guard(self, stripe: int) -> Guard:
        """Return the condition check that holds while the region is active in this epoch."""
        return FENCE.guard(stripe, self._stripe)

    @property
    def _stripe(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "open": self.active}

    def is_of(self, tables: Mapping[str, str]) -> bool:
        """Return whether the tables with these identities are the ones that the role was given to."""
        return all(self.tables.get(name) == identity for name, identity in tables.items())


def read_role(control: ControlStorage) -> Role | None:
    """Read a region's role from its own control state, or None if it has none yet."""
    value = control.get(ROLE_SCOPE, ROLE_KEY)
    return None if value is None else Role.parse(value)


def change_role(control: ControlStorage, before: Role | None, after: Role) -> None:
    """Change a region's role from `before` to `after`, if it is still `before`. Repeat it after an interruption. Raises
    RoleChanged."""
    if after != before and not control.swap(ROLE_SCOPE, ROLE_KEY, before.value if before else None, after.value):
        raise RoleChanged(
            f"the region is no longer {before.name if before else 'new'}: another process changed its role; check "
            "`replicator status` and run this again"
        )
    set_stripes(control, after)


def set_stripes(control: ControlStorage, role: Role) -> None:
    """Make every stripe repeat the role, unless it has a later epoch."""
    FENCE.set(control, role._stripe, lambda held: bool(held["epoch"] < role.epoch), "setting the fence")


def known_role(control: ControlStorage, region: str) -> Role | None:
    """Return what a region has recorded of another one's role; None if nothing."""
    value = control.get(KNOWN_SCOPE, region)
    return None if value is None else Role.parse(value)


def known_roles(control: ControlStorage) -> dict[str, Role]:
    """Return what a region has recorded of the others' roles."""
    return {region: Role.parse(value) for region, value in control.get_all(KNOWN_SCOPE)}


def tell_role(controls: Iterable[ControlStorage], region: str, role: Role) -> None:
    """Record in these regions the role of `region`, unless they know a later one."""
    for control in controls:
        for _ in tries(f"recording the role of {region}"):
            before = control.get(KNOWN_SCOPE, region)
            if before is not None and int(before["epoch"]) >= role.epoch:
                break
            if control.swap(KNOWN_SCOPE, region, before, role.value):
                break
