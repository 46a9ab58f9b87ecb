"""Port of the sinks that keep views. Every sink obeys one contract test, tests/projectors/sinks/test_contract.py."""

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
    """Replacement of the view at vector `before` (None: there is none yet) by `view`."""

    before: VersionVector | None
    view: View


BROKEN = (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""Errors of reading or writing one view whose content is wrong: none of them concerns the store."""


class ViewRefused(InvalidConfig):
    """A store can never accept a view's content. Other views are not concerned."""


@runtime_checkable
class ReadDirectly(Protocol):
    """Sink that others read without Meridian, and that shows them one version of each projection."""

    def activate(self, projection: str, version: int) -> None:
        """Show this version from now on. Idempotent. Raises RegionUnavailable."""


@runtime_checkable
class LoadsCheaply(Protocol):
    """Sink with a read that costs half, and may be some changes behind."""

    def glance(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """Return the views under these keys as `load` does, each as it is or as it was a moment ago."""


class Sink(Protocol):
    """Store of views. A view's row and its version vector change together or not at all.

    All methods raise RegionUnavailable when the store does not answer; repeating a call is safe.
    """

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """Return the views under these keys, without those that do not exist. Raises DamagedEvent for one that is not whole
        or does not match its digest, as do all methods that return views."""

    def save(self, changes: Sequence[Change]) -> list[bool]:
        """Make each change on its own, at most one for each view: False if the stored vector is no longer `before` (another
        writer moved it).

        After a lost answer, the same change may be made twice: it is True when the view is there now. Raises ViewRefused
        when the store can never accept one of the views; the others may have been saved or not.
        """

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        """Yield every view of a projection's version, cells too, in any order. Reads them all: for checks, not for
        requests."""

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        """Yield the cells of one row of a cross-stream projection, in the order of their owners."""

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        """Return the digests of a projection's version by ranges of its keys, by which two sinks are compared.

        A sink that keeps digests of ranges trusts them, and what each view claims to be, unless `thorough`: then it reads
        every view, as the others always do, and a damaged one has a fingerprint that no sound one has.
        """

    def discard(self, keys: Collection[ViewKey]) -> None:
        """Remove these views, whatever they hold, so that they are folded again. Absent ones are skipped."""

    def drop(self, projection: str, version: int) -> Iterator[int]:
        """Remove every view of a projection's version; yields the number removed so far. May be interrupted and begun again:
        views of whole streams go first, so that no stream is known as folded whose cells are gone."""
