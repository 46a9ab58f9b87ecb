"""Check-in: the pure decision, once per process before its first append, whether a region may write at all. It depends on
the region's own tables and on what the peers that answer know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from replicator.control.control_storage import ControlStorage
from replicator.eventstore.storage import LaneStorage
from replicator.fencing.roles import ACTIVE, REBUILDING, Role, known_role


@dataclass(frozen=True, slots=True)
class Heard:
    """A peer's knowledge of a region: the recorded role, and whether the peer holds any of its lanes."""

    role: Role | None
    holds: bool


@dataclass(frozen=True, slots=True)
class CheckIn:
    """Queries of a region's process before its first append. `tables` returns the identities of the region's own tables;
    `ask` returns what each peer that answers knows of it, and the peers that do not answer; with True, whether they hold any
    of its lanes, too. `check` raises if nothing may be written, and is called before a new region accepts its first
    append."""

    tables: Callable[[], Mapping[str, str]]
    ask: Callable[[bool], tuple[Mapping[str, Heard], tuple[str, ...]]]
    check: Callable[[], None] = lambda: None


def ask(control: ControlStorage, storage: LaneStorage, region: str, lanes: bool = True) -> Heard:
    """Return what a peer with these tables knows of `region`: the role, by one read, and with `lanes` whether it holds any
    of its lanes. Raises RegionUnavailable."""
    return Heard(known_role(control, region), lanes and next(storage.index(region), None) is not None)


def decide(
    region: str, own: Role | None, tables: Mapping[str, str], heard: Mapping[str, Heard], silent: Sequence[str], now: int
) -> Role:
    """Return the role that `region` must take.

    - Its role was given to other tables than these: they were emptied, or restored from a backup, and their content may be
        behind what peers hold. Rebuilding.
    - It has no role: if a peer holds lanes of it, it was emptied. Rebuilding; also when a peer does not answer, because
        that one may hold them. Otherwise it is new, and active in epoch 1.
    - A peer has recorded a later epoch: that one holds; the region was unreachable when it was fenced. If it is active
        there, then the region itself must have known, and has forgotten: rebuilding.
    """
    told = max((each.role for each in heard.values() if each.role), key=lambda role: role.epoch, default=None)
    later = told if told is not None and (own is None or told.epoch > own.epoch) else None
    epoch = max(own.epoch if own else 0, told.epoch if told else 0)
    if own is not None and not own.is_of(tables):
        return Role(
            epoch, REBUILDING, tables, now, "", "its tables are not those that it was active with: emptied or restored"
        )
    if own is None:
        holders = sorted(peer for peer, each in heard.items() if each.holds)
        if holders:
            return Role(epoch, REBUILDING, {}, now, "", f"it was emptied: {', '.join(holders)} has events of its lanes")
        if silent:
            why = f"it has no role yet, and {', '.join(silent)} cannot say whether it was emptied"
            return Role(epoch, REBUILDING, {}, now, "", why)
        if later is None:
            return Role(1, ACTIVE, tables, now, "", "new")
    if later is None:
        assert own is not None
        return own
    if later.active:
        return Role(epoch, REBUILDING, {}, now, "", "it has forgotten that it is active: its control state is an older one")
    return Role(later.epoch, later.name, own.tables if own else {}, later.since, later.to, later.why)
