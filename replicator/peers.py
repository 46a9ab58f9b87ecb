"""Which tables this region has copied to, kept in its control state: a peer that was emptied or restored while nobody looked
is given all lanes again, also those in which nothing happens any more."""

from __future__ import annotations

from replicator.control import ControlStorage

_SCOPE = "peers"


class PeerTables:
    """The identity of each peer's events table, as this region's links knew it last."""

    def __init__(self, control: ControlStorage) -> None:
        self._control = control
        self._kept: dict[str, str] | None = None

    def replaced(self, peer: str, identity: str) -> bool:
        """Whether another table is known than the one with this identity. A peer that is seen for the first time is not."""
        if self._kept is None:
            self._kept = {name: str(value.get("table", "")) for name, value in self._control.get_all(_SCOPE)}
        if peer not in self._kept:
            self.keep(peer, identity)
        return self._kept[peer] != identity

    def keep(self, peer: str, identity: str) -> None:
        """All lanes are on their way to this table now."""
        self._control.put(_SCOPE, {peer: {"table": identity}})
        if self._kept is not None:
            self._kept[peer] = identity
