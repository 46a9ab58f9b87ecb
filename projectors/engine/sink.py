"""The port where views are kept. Every sink obeys one contract test, tests/projectors/sinks/test_contract.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from projectors.engine.digests import Summary
from projectors.model.view import View, ViewKey
from replicator.domain.errors import InvalidConfig
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the view at vector `before` (None: there is none yet) by `view`."""

    before: VersionVector | None
    view: View


BROKEN = (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What reading or writing one view raises where it holds what it should not: none of them speaks of the store."""


class ViewRefused(InvalidConfig):
    """A store cannot take what a view holds, today or ever. Other views are not concerned."""


@runtime_checkable
class ReadDirectly(Protocol):
    """A sink that others read without Meridian, and that shows them one version of each projection."""

    def activate(self, projection: str, version: int) -> None:
        """Show this version from now on. Idempotent. Raises RegionUnavailable."""


class Sink(Protocol):
    """Keeps views. A view's row and its version vector change together or not at all.

    All methods raise RegionUnavailable where the store does not answer; doing the same again is safe.
    """

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """The views under these keys, without those that do not exist. Raises DamagedEvent for one that is not whole or does
        not match its digest, as all that return views do."""

    def save(self, changes: Sequence[Change]) -> list[bool]:
        """Make each change on its own, at most one for each view: False where the stored vector is no longer `before`
        (somebody else moved it).

        Where an answer was lost, the same change may be made twice: it is True when the view is there now. Raises
        ViewRefused where the store takes what one of the views holds never; the others may have been saved or not.
        """

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        """Every view of a projection's version, cells too, in any order. Reads them all: for checking, not for requests."""

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        """The cells of one row of a cross-stream projection, in the order of their owners."""

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        """The digests of a projection's version by ranges of its keys: what two sinks are compared by.

        A sink that keeps digests of ranges trusts them, and what each view claims to be, unless it is to be `thorough`: then
        it reads every view, as the others always do, and a damaged one has a fingerprint that no sound one has.
        """

    def discard(self, keys: Collection[ViewKey]) -> None:
        """Remove these views, whatever they hold, so that they are folded anew. Those that are not there are passed over."""

    def drop(self, projection: str, version: int) -> Iterator[int]:
        """Remove every view of a projection's version; yields how many are gone so far. May be cut short and begun again:
        views of whole streams go first, so that no stream is known as folded whose cells are gone."""
