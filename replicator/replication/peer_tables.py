"""Which tables this region has copied to, kept in its control state: a peer that was emptied or restored while nobody looked
is given all lanes again, also those in which nothing happens any more."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from replicator.control.control_storage import ControlStorage, Value
from replicator.runtime.wall_clock import wall_clock

_SCOPE = "peers"
CLAIM_MS = 60_000
"""So long others leave it to whoever has begun to put all lanes on the backlog. Then one of them begins again."""


class PeerTables:
    """The identity of each peer's events table, as this region's links knew it last. Many processes may share it."""

    def __init__(self, control: ControlStorage, wall: Callable[[], int] = wall_clock, owner: str = "") -> None:
        self._control = control
        self._wall = wall
        self._kept: dict[str, Value] | None = None
        self._owner = owner or uuid.uuid4().hex

    def replaced(self, peer: str, identity: str) -> bool:
        """Whether another table is known than the one with this identity. A peer that is seen for the first time is not.
        Raises RegionUnavailable."""
        kept = self._known().get(peer)
        if kept is None:
            self._control.swap(_SCOPE, peer, None, {"table": identity})
            kept = self._read().get(peer, {})
        elif kept["table"] != identity:  # another process may have dealt with it
            kept = self._read().get(peer, {})
        return bool(kept.get("table") != identity)

    def claim(self, peer: str, identity: str) -> bool:
        """Whether this process is the one that deals with the replaced table. Raises RegionUnavailable."""
        kept = self._read().get(peer, {})
        if kept.get("next") == identity and kept.get("owner") != self._owner and kept.get("until", 0) > self._wall():
            return False
        until = self._wall() + CLAIM_MS
        claimed = {"table": kept.get("table", ""), "next": identity, "owner": self._owner, "until": until}
        return self._control.swap(_SCOPE, peer, kept or None, claimed)

    def keep(self, peer: str, identity: str) -> None:
        """All lanes are on their way to this table, whoever else has begun to put them there. Raises RegionUnavailable."""
        while (kept := self._read().get(peer, {})).get("table") != identity:
            self._control.swap(_SCOPE, peer, kept or None, {"table": identity})

    def _known(self) -> dict[str, Value]:
        return self._kept if self._kept is not None else self._read()

    def _read(self) -> dict[str, Value]:
        self._kept = dict(self._control.get_all(_SCOPE))
        return self._kept
