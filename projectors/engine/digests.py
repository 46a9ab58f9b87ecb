"""Digests of many views by ranges of their keys. Two sinks are compared from the top down: where the digests of a range are
equal, nothing below it is compared.

A view lies at the SHA-256 of its key, so ranges fill evenly: range `3f` holds the views whose place begins with 3f. The
digest of a range is the XOR of its views' digests, which a sink can update with each write, in any order. It detects damage
and delay, not an attacker who chooses what to store: the events' own chain does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import NamedTuple, Protocol

from projectors.model.view import View, ViewKey
from replicator.domain.canonical import netstrings
from replicator.domain.vector import EMPTY, VersionVector

LEAF_DIGITS = 3
"""Number of hexadecimal digits of the ranges that a sink keeps: 4,096 ranges."""
FEW = 32
"""Largest number of views in a range that is compared view by view."""


class Range(NamedTuple):
    """Contents of a range: the number of views, and the XOR of their digests."""

    views: int
    digest: bytes

    def plus(self, other: Range) -> Range:
        return Range(self.views + other.views, xor(self.digest, other.digest))


class Fingerprint(NamedTuple):
    """Fingerprint by which a view is compared. Equal vectors with different digests are damage; different vectors are delay.
    No view has the empty vector: it stands for a view that cannot be read."""

    vector: VersionVector
    digest: bytes


NOTHING = Range(0, bytes(32))


def xor(left: bytes, right: bytes) -> bytes:
    """Return the XOR of two values of 32 bytes."""
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(32)


def place(key: str, row: str = "") -> str:
    """Return the place of a view: 64 hexadecimal digits."""
    return sha256(netstrings(row.encode(), key.encode())).hexdigest()


class Summary(Protocol):
    """Port: digests of one projection's version in one sink, at a single moment if the sink can provide one."""

    def ranges(self, prefix: str) -> Mapping[str, Range]:
        """Return the ranges one digit below `prefix`, without empty ones. `prefix` has fewer than 64 digits."""

    def rows(self, prefix: str) -> Mapping[ViewKey, Fingerprint]:
        """Return the fingerprints of the views in a range."""


class Tree:
    """Summary in memory, made of all the views' fingerprints: for sinks that keep no digests of ranges."""

    def __init__(self, rows: Iterable[tuple[ViewKey, Fingerprint]]) -> None:
        self._leaves: dict[str, dict[ViewKey, tuple[str, Fingerprint]]] = {}
        for key, fingerprint in rows:
            where = place(key.key, key.row)
            self._leaves.setdefault(where[:LEAF_DIGITS], {})[key] = (where, fingerprint)

    @classmethod
    def of(cls, views: Iterable[View]) -> Tree:
        return cls((view.id, Fingerprint(view.vector, view.digest)) for view in views)

    def ranges(self, prefix: str) -> Mapping[str, Range]:
        found: dict[str, Range] = {}
        for where, fingerprint in self._below(prefix).values():
            child = where[: len(prefix) + 1]
            found[child] = found.get(child, NOTHING).plus(Range(1, fingerprint.digest))
        return found

    def rows(self, prefix: str) -> Mapping[ViewKey, Fingerprint]:
        return {key: fingerprint for key, (_, fingerprint) in self._below(prefix).items()}

    def _below(self, prefix: str) -> dict[ViewKey, tuple[str, Fingerprint]]:
        if len(prefix) >= LEAF_DIGITS:
            leaves = [self._leaves.get(prefix[:LEAF_DIGITS], {})]
        else:
            leaves = [leaf for name, leaf in self._leaves.items() if name.startswith(prefix)]
        return {key: entry for leaf in leaves for key, entry in leaf.items() if entry[0].startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Difference:
    """View that differs between two sinks; None for a side that lacks it."""

    key: ViewKey
    left: Fingerprint | None
    right: Fingerprint | None

    @property
    def damaged(self) -> bool:
        """Whether the bytes differ for the same events, or a vector names no event: delay never explains that."""
        if self.left is None or self.right is None:
            return False
        return self.left.vector == self.right.vector or EMPTY in (self.left.vector, self.right.vector)


@dataclass(slots=True)
class Effort:
    """Cost of a comparison: the number of requests for ranges, and of views compared."""

    ranges: int = 0
    rows: int = 0
    views: int = 0
    """Number of views on the left side."""


def differences(left: Summary, right: Summary, effort: Effort | None = None) -> Iterator[Difference]:
    """Yield the views that differ between two summaries, always in the same order."""
    effort = effort or Effort()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        ours, theirs = left.ranges(prefix), right.ranges(prefix)
        effort.ranges += 1
        if not prefix:
            effort.views = reduce(Range.plus, ours.values(), NOTHING).views
        unequal = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        for name in reversed(unequal):
            if name in ours and name in theirs and max(ours[name].views, theirs[name].views) > FEW:
                waiting.append(name)
        for name in unequal:
            if name not in waiting:
                yield from _rows(left.rows(name), right.rows(name), effort)


def _rows(left: Mapping[ViewKey, Fingerprint], right: Mapping[ViewKey, Fingerprint], effort: Effort) -> Iterator[Difference]:
    effort.rows += max(len(left), len(right))
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            yield Difference(key, left.get(key), right.get(key))
