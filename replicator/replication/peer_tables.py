"""Identities of the peers' tables, kept in this region's control state. A peer that was emptied or restored unnoticed gets
all lanes again, including those without new events."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from replicator.control.control_storage import ControlStorage, Value, tries
from replicator.runtime.wall_clock import wall_clock

_SCOPE = "peers"
CLAIM_MS = 60_000
"""Milliseconds for which other processes leave the work to the one that has begun to put all lanes on the backlog. Then
another begins again."""


class PeerTables:
    """Last known identity of each peer's events table, as this region's links saw it. Many processes may share it."""

    def __init__(self, control: ControlStorage, wall: Callable[[], int] = wall_clock, owner: str = "") -> None:
        self._control = control
        self._wall = wall
        self._kept: dict[str, Value] | None = None
        self._owner = owner or uuid.uuid4().hex

    def replaced(self, peer: str, identity: str) -> bool:
        """Return whether the known table is not the one with this identity. False for a peer seen for the first time. Raises
        RegionUnavailable."""
        kept = self._known().get(peer)
        if kept is None:
            self._control.swap(_SCOPE, peer, None, {"table": identity})
            kept = self._read().get(peer, {})
        elif kept["table"] != identity:  # another process may have handled it
            kept = self._read().get(peer, {})
        return bool(kept.get("table") != identity)

    def claim(self, peer: str, identity: str) -> bool:
        """Return whether this process is the one to handle the replaced table. Raises RegionUnavailable."""
        kept = self._read().get(peer, {})
        if kept.get("next") == identity and kept.get("owner") != self._owner and kept.get("until", 0) > self._wall():
            return False
        until = self._wall() + CLAIM_MS
        claimed = {"table": kept.get("table", ""), "next": identity, "owner": self._owner, "until": until}
        return self._control.swap(_SCOPE, peer, kept or None, claimed)

    def keep(self, peer: str, identity: str) -> None:
        """Record that all lanes are on their way to this table, whichever process put them there. Raises
        RegionUnavailable."""
        for _ in tries(f"recording the table of {peer}"):
            kept = self._read().get(peer, {})
            if kept.get("table") == identity:
                return
            self._control.swap(_SCOPE, peer, kept or None, {"table": identity})

    def _known(self) -> dict[str, Value]:
        return self._kept if self._kept is not None else self._read()

    def _read(self) -> dict[str, Value]:
        self._kept = dict(self._control.get_all(_SCOPE))
        return self._kept
