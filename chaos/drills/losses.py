"""What a region's outage costs: events that only it has (RPO), and events that are gone with its data.

An acknowledged event has survived when its digest was found in a peer's tables right after the region died, in the backup
that the region came back from, or in any region once it was brought up again. What has survived must be everywhere in the
end, or it counts as lost. What has not is gone: there is no place left that it could come back from. What was acknowledged
OLD_SECONDS before the region died may not be gone: a peer has to have had it. A link that copies nothing loses more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from chaos.drills.history import EventKey, History
from chaos.world.reading import Tables

OLD_SECONDS = 10.0


class Losses:
    """Keeps the account of one region. `old` is how many of its events were OLD_SECONDS old when it died, `old_missing` how
    many of these no peer had then."""

    def __init__(self, region: str, history: History, tables: Mapping[str, Tables]) -> None:
        self._region = region
        self._history = history
        self._tables = tables
        self._survived: set[bytes] = set()
        self.old = self.old_missing = 0

    def survive(self, digests: Iterable[bytes]) -> None:
        """Events with these digests have survived, whatever becomes of the region."""
        self._survived.update(digests)

    def died(self, at: float) -> None:
        """The region's data was lost at this time of the history's clock: what its peers hold has survived."""
        own, held = self._history.of(self._region), set[bytes]()
        for region, tables in self._tables.items():
            if region != self._region:
                held.update(tables.digests(own).values())
        self.survive(held)
        old = self._history.of(self._region, until=at - OLD_SECONDS)
        self.old, self.old_missing = len(old), len(set(old.values()) - held)

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
