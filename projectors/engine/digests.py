"""Digests of many views by ranges of their keys, so that two sinks are compared from the top down: where the digests of a
range are equal nothing below it is looked at.

A view lies at the SHA-256 of its key, so ranges fill evenly: range `3f` holds the views whose place begins with 3f. The
digest of a range is the XOR of its views' digests, which a sink can keep up with each write, whatever the order. It
tells damage and delay, not an attacker who chooses what to store: that is what the events' own chain is for.
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
"""How many hexadecimal digits the ranges have that a sink keeps: 4,096 of them."""
FEW = 32
"""A range of so few views is compared view by view."""


class Range(NamedTuple):
    """What a range holds: how many views, and the XOR of their digests."""

    views: int
    digest: bytes

    def plus(self, other: Range) -> Range:
        return Range(self.views + other.views, xor(self.digest, other.digest))


class Fingerprint(NamedTuple):
    """What a view is compared by. Equal vectors with different digests are damage; different vectors are delay. No view has
    the empty vector: it stands for one that cannot be read."""

    vector: VersionVector
    digest: bytes


NOTHING = Range(0, bytes(32))


def xor(left: bytes, right: bytes) -> bytes:
    """Both 32 bytes."""
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(32)


def place(key: str, row: str = "") -> str:
    """Where a view lies: 64 hexadecimal digits."""
    return sha256(netstrings(row.encode(), key.encode())).hexdigest()


class Summary(Protocol):
    """The digests of one projection's version in one sink, at one moment where the sink can say so."""

    def ranges(self, prefix: str) -> Mapping[str, Range]:
        """The ranges one digit below `prefix`, without empty ones. `prefix` has fewer than 64 digits."""

    def rows(self, prefix: str) -> Mapping[ViewKey, Fingerprint]:
        """The views in a range."""


class Tree:
    """A summary in memory, made of all the views' fingerprints: for sinks that keep no digests of ranges."""

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
    """A view that two sinks do not hold alike; None where one lacks it."""

    key: ViewKey
    left: Fingerprint | None
    right: Fingerprint | None

    @property
    def damaged(self) -> bool:
        """The same events, and not the same bytes, or a vector that says of no event: never explained by delay."""
        if self.left is None or self.right is None:
            return False
        return self.left.vector == self.right.vector or EMPTY in (self.left.vector, self.right.vector)


@dataclass(slots=True)
class Effort:
    """What a comparison cost: how often it asked for ranges, and how many views it looked at."""

    ranges: int = 0
    rows: int = 0
    views: int = 0
    """How many views the left side holds."""


def differences(left: Summary, right: Summary, effort: Effort | None = None) -> Iterator[Difference]:
    """The views that two summaries do not have alike: always in the same order."""
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
