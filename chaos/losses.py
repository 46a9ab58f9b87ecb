"""What a region's outage costs: events that only it has (RPO), and events that are gone with its data.

An acknowledged event has survived when its digest was found in a peer's tables right after the region died, in the backup
that the region came back from, or in any region once it was brought up again. What has survived must be everywhere in the
end, or it counts as lost. What has not is gone: there is no place left that it could come back from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from chaos.history import EventKey, History
from chaos.reading import Tables


class Losses:
    """Keeps the account of one region."""

    def __init__(self, region: str, history: History, tables: Mapping[str, Tables]) -> None:
        self._region = region
        self._history = history
        self._tables = tables
        self._survived: set[bytes] = set()

    def survive(self, digests: Iterable[bytes]) -> None:
        """Events with these digests have survived, whatever becomes of the region."""
        self._survived.update(digests)

    def died(self) -> None:
        """The region's data is lost now: what its peers hold has survived."""
        own = self._history.of(self._region)
        for region, tables in self._tables.items():
            if region != self._region:
                self.survive(tables.digests(own).values())

    def missing(self, region: str) -> set[EventKey]:
        """What was acknowledged in the struck region and is not, as it was acknowledged, in this one."""
        own = self._history.of(self._region)
        held = self._tables[region].digests(own)
        return {key for key, digest in own.items() if held.get(key) != digest}

    def settle(self, doubtful: Iterable[EventKey]) -> frozenset[bytes]:
        """The region was brought up again. Tell the history what is gone; return the digests of what has survived, with
        those of `doubtful`: events that were sent there and never answered."""
        keys: Collection[EventKey] = {*self._history.of(self._region), *doubtful}
        for tables in self._tables.values():
            self.survive(tables.digests(keys).values())
        self._history.lose(self._region, self._survived)
        return frozenset(self._survived)
