"""Stream succession: finds the stream to read, as another one may replace it, of the same table or of a recreated one.

docs/decisions/0029 has the rule and its reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from replicator.aws import clients
from replicator.domain.errors import RegionRefuses, RegionUnavailable

NO_STREAM = "NoStream"
"""Error code of a refusal: the table exists and has no stream."""


class Source(NamedTuple):
    """Current stream of a table, and the identity of the table: a recreated one has another."""

    stream: str
    table: str


@dataclass(slots=True)
class Succession:
    """Finds the current stream. `find` raises RegionRefuses when there is no table, or no stream (NO_STREAM); without it the
    stream never changes. `table` is the identity of the table whose stream is read."""

    find: Callable[[], Source] | None = None
    table: str = ""
    next: Source | None = None
    """Stream that has replaced the one being read, as long as the old one may still hold records."""
    missing: RegionRefuses | None = None
    """Reason why there is nothing to read from now."""

    def due(self, stream: str, ended: bool, quiet: bool) -> Source | None:
        """Return the stream to switch to, if there is another one and its time has come.

        For the same table, the rest of `stream` is read first, until all its shards have `ended` or it is `quiet` from one
        check to the next; likewise when there is no table. Not so when there is another table.
        """
        if self.find is None:
            return None
        try:
            source, self.missing = self.find(), None
        except RegionUnavailable as error:  # reading continues without: a control plane may be down for hours
            gone = isinstance(error, RegionRefuses) and error.code in (clients.NO_SUCH_TABLE, NO_STREAM)
            self.missing = error if isinstance(error, RegionRefuses) and gone else None
            return None
        read = ended or (self.next is not None and quiet)
        self.next = source if source.stream != stream else None
        return self.next if read or source.table != self.table else None
