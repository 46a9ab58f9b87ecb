"""Reads of the rows of cross-stream projections: each row's cells, taken together."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from projectors.engine.engine import Engine
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Sink
from projectors.model.projection import Projection
from projectors.model.view import View
from replicator.domain.canonical import netstrings
from replicator.domain.errors import InvalidConfig
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.store import EventStore


@dataclass(frozen=True, slots=True)
class Row:
    """Row as one sink holds it: JSON by field, the number of streams in it, and one digest of all its cells."""

    row: str
    value: dict[str, Any]
    streams: int
    digest: bytes


def read_row(projection: type[Projection], sink: Sink, row: str, store: EventStore | None = None) -> Row:
    """Return a row of a cross-stream projection. A row that nothing feeds has its fields' initial values.

    Cells that count as absent (`Projection.misfit`) are folded again from the events of `store`. Raises RegionUnavailable,
    and InvalidConfig for such a cell when no store is given: without it the row would be wrong.
    """
    if not projection.rows:
        raise InvalidConfig(f"projection {projection.name} has no rows: it keeps a view of each stream; read one of those")
    stored = (_fitting(projection, cell, store) for cell in sink.cells(projection.name, projection.version, row))
    cells = [cell for cell in stored if cell is not None]
    states = {cell.key: cell.state for cell in cells}
    value = {
        name: field.crdt.total({owner: state[name] for owner, state in states.items()})
        for name, field in projection.fields.items()
    }
    return Row(row, value, len(cells), sha256(netstrings(*(cell.digest for cell in cells))).digest())


def _fitting(projection: type[Projection], cell: View, store: EventStore | None) -> View | None:
    """Return the cell, or, if it counts as absent, the cell that the events make (None when they make none)."""
    why = projection.misfit(cell)
    if not why:
        return cell
    if store is None:
        raise InvalidConfig(
            f"the cell of {cell.key} in row {cell.row} of {projection.name} does not fit the class: {why}. Raise its "
            f"version, or run `projectors rebuild {projection.name} --again`; with the event store it would be folded again"
        )
    scratch, stream = MemorySink(), StreamId.parse(cell.key)
    lanes = store.begun([LaneId(region, stream) for region in store.regions])
    Engine([projection], store, scratch, watch=False).catch_up(lanes)
    return scratch.load([cell.id]).get(cell.id)
