"""Reading the rows of cross-stream projections: each row's cells, taken together."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from projectors.projection import Projection
from projectors.sinks.port import Sink
from replicator.domain.canonical import netstrings
from replicator.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is in one sink: JSON by field, from how many streams, and one digest of all its cells."""

    row: str
    value: dict[str, Any]
    streams: int
    digest: bytes


def read_row(projection: type[Projection], sink: Sink, row: str) -> Row:
    """A row of a cross-stream projection. One that nothing feeds has its fields' first values. Raises RegionUnavailable."""
    if not projection.rows:
        raise InvalidConfig(
            f"projection {projection.name} has no rows: it keeps a view of each stream; ask for one of those"
        )
    cells = list(sink.cells(projection.name, projection.version, row))
    states = {cell.key: cell.state for cell in cells}
    value = {
        name: field.crdt.total({owner: state[name] for owner, state in states.items()})
        for name, field in projection.fields.items()
    }
    return Row(row, value, len(cells), sha256(netstrings(*(cell.digest for cell in cells))).digest())
