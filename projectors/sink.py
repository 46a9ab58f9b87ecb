"""The port where views are kept. Every sink obeys one contract test, tests/projectors/test_sinks.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from projectors.view import View
from replicator.domain.vector import VersionVector

ViewKey = tuple[str, str]
"""A projection's name and a stream as text: what identifies a view."""


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the view at vector `before` (None: there is none yet) by `view`."""

    before: VersionVector | None
    view: View


class Sink(Protocol):
    """Keeps views. A view's row and its version vector change together or not at all."""

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """The views under these keys, without those that do not exist."""

    def save(self, changes: Sequence[Change]) -> list[bool]:
        """Make each change on its own: False where the stored vector is no longer `before` (somebody else moved it).

        Raises RegionUnavailable when some outcome is not known; saving again is safe.
        """

    def views(self, projection: str) -> Iterator[View]:
        """Every view of a projection. Reads the whole table: for checking, not for requests."""
