"""Version vector: for a stream, the last sequence known of each lane (Parker et al. 1983)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from replicator.domain.errors import InvalidEvent, shown
from replicator.domain.names import MAX_SEQUENCE, check_region

_decoder: Any = json.JSONDecoder()


class VersionVector:
    """Immutable map from region to the last sequence known of its lane. An absent region is at 0.

    As lanes have no gaps, a vector names exactly the events it covers: every sequence up to and including its own.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, int] | None = None) -> None:
        checked: dict[str, int] = {}
        given = entries or {}
        for region in sorted(given) if len(given) > 1 else given:
            sequence = given[region]
            check_region(region)
            if type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
                raise InvalidEvent(f"version vector has {region}: {shown(sequence)}; sequences are whole numbers from 0")
            if sequence:
                checked[region] = sequence
        self._entries = checked

    @classmethod
    def _trusted(cls, entries: dict[str, int]) -> VersionVector:
        vector = cls.__new__(cls)
        vector._entries = dict(sorted(entries.items()))
        return vector

    @classmethod
    def of(cls, region: str, sequence: int) -> VersionVector:
        """Return the vector of one region, whose name is already validated, at a sequence from 1."""
        vector = cls.__new__(cls)
        vector._entries = {region: sequence}
        return vector

    @classmethod
    def parse(cls, text: str) -> VersionVector:
        """Invert `str`."""
        if text == "{}":
            return EMPTY
        try:
            value, end = _decoder.scan_once(text, 0)
        except (ValueError, TypeError, RecursionError, StopIteration):
            value, end = None, 0
        if not isinstance(value, dict) or end != len(text):
            raise InvalidEvent(f"version vector {shown(text)} is not a JSON object of region: sequence")
        return cls(value)

    def get(self, region: str) -> int:
        """Return the last sequence known of `region`'s lane, 0 if none is."""
        return self._entries.get(region, 0)

    def covers(self, region: str, sequence: int) -> bool:
        """Return whether this vector covers the event at `sequence` of `region`'s lane."""
        return sequence <= self._entries.get(region, 0)

    def advance(self, region: str, sequence: int) -> VersionVector:
        """Return this vector with `region` advanced to `sequence`; never back."""
        if self.covers(region, sequence):
            return self
        return VersionVector._trusted({**self._entries, check_region(region): sequence})

    def capped(self, region: str, sequence: int) -> VersionVector:
        """Return this vector with `region` at `sequence` at most."""
        if self.get(region) <= sequence:
            return self
        return VersionVector({**self._entries, region: sequence})

    def join(self, other: VersionVector) -> VersionVector:
        """Return the least vector that covers both: the element-wise maximum."""
        if other <= self:
            return self
        entries = dict(self._entries)
        for region, sequence in other._entries.items():
            if sequence > entries.get(region, 0):
                entries[region] = sequence
        return VersionVector._trusted(entries)

    def beyond(self, other: VersionVector) -> VersionVector:
        """Return only the entries of this vector that `other` does not reach yet."""
        return VersionVector._trusted({r: s for r, s in self._entries.items() if s > other.get(r)})

    def items(self) -> Iterator[tuple[str, int]]:
        """Return (region, sequence) pairs in region order."""
        return iter(self._entries.items())

    def __le__(self, other: VersionVector) -> bool:
        return all(sequence <= other.get(region) for region, sequence in self._entries.items())

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionVector) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(tuple(self._entries.items()))

    def __str__(self) -> str:
        """Encode as canonical JSON: regions in order, no white space."""
        if len(self._entries) == 1:
            ((region, sequence),) = self._entries.items()
            return f'{{"{region}":{sequence}}}'
        return "{" + ",".join(f'"{region}":{sequence}' for region, sequence in self._entries.items()) + "}"

    def __repr__(self) -> str:
        return f"VersionVector({self._entries})"


EMPTY = VersionVector()
