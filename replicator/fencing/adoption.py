"""Role adoption: a region that was unreachable when it was fenced learns its role from its peers. If what they have recorded
is later than its own role, it becomes its role."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import MeridianError, RegionRefuses, RegionUnavailable
from replicator.fencing.roles import Role, RoleChanged, change_role, known_role, read_role, set_stripes

log = structlog.get_logger()

ADOPT_SECONDS = 5.0


@dataclass(slots=True)
class Adopter:
    """Reads what the peers of `region` have recorded of its role. `first` gives the region its first role, so that a region
    that only receives has one before a failover to it."""

    region: str
    control: ControlStorage
    peers: Mapping[str, ControlStorage]
    first: Callable[[], object]
    _whole: Role | None = None
    """Role that every stripe repeats."""
    _refused: set[str] = field(default_factory=set)

    def adopt(self) -> None:
        """Adopt the latest role that any peer has recorded. A peer that does not answer is asked again the next time."""
        told: list[Role] = []
        for peer, control in self.peers.items():
            try:
                role = known_role(control, self.region)
            except MeridianError as error:
                if isinstance(error, RegionRefuses) and peer not in self._refused:
                    self._refused.add(peer)
                    log.warning("fence.peer_refuses", region=self.region, peer=peer, error=str(error))
                continue
            if role is not None:
                told.append(role)
        latest = max(told, key=lambda role: role.epoch, default=None)
        own = read_role(self.control)
        if own is None:
            self.first()
            return
        if latest is None or own.epoch >= latest.epoch:
            if own != self._whole:  # the process that changed the role may have been killed before these
                set_stripes(self.control, own)
                self._whole = own
            return
        try:
            change_role(self.control, own, replace(latest, tables=own.tables))
        except RoleChanged:
            return  # another process here changed it; if the peers' record is still later, the next call finds it
        log.warning("fence.adopted", region=self.region, role=latest.name, epoch=latest.epoch, why=latest.why)

    def run(self, stop: threading.Event) -> None:
        """Adopt every five seconds until `stop` is set."""
        while not stop.is_set():
            try:
                self.adopt()
            except RegionUnavailable as error:
                log.warning("fence.not_adopted", region=self.region, error=str(error))
            except Exception:  # unforeseen: ending the thread would end this silently
                log.exception("fence.not_adopted", region=self.region)
            stop.wait(ADOPT_SECONDS)
