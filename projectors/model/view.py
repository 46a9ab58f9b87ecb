"""View: a projection's stored result, with the version vector of the events that made it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from replicator.domain.canonical import decode_json, netstrings
from replicator.domain.vector import VersionVector

ENCODING = b"meridian.view.2"
MAX_VIEW_BYTES = 390 * 1024
"""Maximum bytes of a view: DynamoDB's limit of one item, less the key, the vector and the attribute names."""


class ViewKey(NamedTuple):
    """Key of a view: the projection, the stream, the projection's version, and, for the cell that a stream owns in a row of
    a cross-stream projection, that row."""

    projection: str
    key: str
    version: int = 1
    row: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One view. `key` is the stream as text; `state_text` and `value_text` are canonical JSON: what the CRDTs need, and what
    readers see. `row` is the row in which it is a cell, empty for the view of a whole stream.

    Two views of one projection's version with equal keys and vectors are equal to the byte, in every region and every sink.
    A cell's vector names the last event of each lane that fed it.
    """

    projection: str
    version: int
    key: str
    vector: VersionVector
    state_text: str
    value_text: str
    row: str = ""

    @property
    def id(self) -> ViewKey:
        """Key that identifies the view."""
        return ViewKey(self.projection, self.key, self.version, self.row)

    @property
    def value(self) -> dict[str, Any]:
        """Value that readers see, by field: JSON."""
        return decode_json(self.value_text, "value")

    @property
    def size(self) -> int:
        """Bytes of the texts that a sink stores."""
        return len(self.state_text.encode()) + len(self.value_text.encode())

    @property
    def state(self) -> dict[str, Any]:
        """State of the CRDTs, by field: JSON."""
        return decode_json(self.state_text, "state")

    @property
    def digest(self) -> bytes:
        """SHA-256 over the netstrings of every field."""
        return sha256(
            netstrings(
                ENCODING,
                self.projection.encode(),
                b"%d" % self.version,
                self.key.encode(),
                self.row.encode(),
                str(self.vector).encode(),
                self.state_text.encode(),
                self.value_text.encode(),
            )
        ).digest()
