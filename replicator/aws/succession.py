"""Which stream a reader reads: another one may take its place, of the same table or of one that was made anew.

docs/decisions/0029 has the rule and its reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from replicator.aws import clients
from replicator.domain.errors import RegionRefuses, RegionUnavailable

NO_STREAM = "NoStream"
"""The code of a refusal: the table is there and has no stream."""


class Source(NamedTuple):
    """The stream that a table has now, and the identity of the table: one made anew has another."""

    stream: str
    table: str


@dataclass(slots=True)
class Succession:
    """Looks which stream is the present one. `find` raises RegionRefuses where there is no table, or no stream (NO_STREAM);
    without it the stream never changes. `table` is the identity of the table whose stream is read."""

    find: Callable[[], Source] | None = None
    table: str = ""
    next: Source | None = None
    """The stream that has taken the place of the one that is read, as long as that one may hold records yet."""
    missing: RegionRefuses | None = None
    """Why there is nothing to read from now."""

    def due(self, stream: str, ended: bool, quiet: bool) -> Source | None:
        """The stream to go on with, where it is another one and its time has come.

        What `stream` still holds is read first where the table is the same, until all its shards have `ended` or it is
        `quiet` from one look to the next; and where there is no table. Not where there is another table.
        """
        if self.find is None:
            return None
        try:
            source, self.missing = self.find(), None
        except RegionUnavailable as error:  # reading goes on without: a control plane may be away for hours
            gone = isinstance(error, RegionRefuses) and error.code in (clients.NO_SUCH_TABLE, NO_STREAM)
            self.missing = error if isinstance(error, RegionRefuses) and gone else None
            return None
        read = ended or (self.next is not None and quiet)
        self.next = source if source.stream != stream else None
        return self.next if read or source.table != self.table else None
