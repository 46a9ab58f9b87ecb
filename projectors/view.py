"""A view: a projection's stored result for one stream, with the version vector of the events that made it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from replicator.domain.canonical import decode_json, netstrings
from replicator.domain.vector import VersionVector

ENCODING = b"meridian.view.1"
MAX_VIEW_BYTES = 390 * 1024
"""DynamoDB's limit of one item, less the key, the vector and the attribute names."""


@dataclass(frozen=True, slots=True)
class View:
    """One row. `state_text` and `value_text` are canonical JSON: what the CRDTs need, and what readers see.

    Two views of one projection with equal vectors are equal to the byte, in every region and every sink.
    """

    projection: str
    version: int
    key: str
    vector: VersionVector
    state_text: str
    value_text: str

    @property
    def value(self) -> dict[str, Any]:
        return decode_json(self.value_text, "value")

    @property
    def size(self) -> int:
        """Bytes of the texts that a sink stores."""
        return len(self.state_text.encode()) + len(self.value_text.encode())

    @property
    def state(self) -> dict[str, Any]:
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
                str(self.vector).encode(),
                self.state_text.encode(),
                self.value_text.encode(),
            )
        ).digest()
