"""Dots: tags that are alive until a context covers them. All observed-remove types are made of them.

`Dots` are the latest sequences alive of each region: `{region: sequence}`. Of one region only the latest is kept, as what
covers it covers the earlier ones. A context that covers what has not arrived yet is kept beside them, until it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from replicator.domain.vector import VersionVector

Entry = TypeVar("Entry")
Dots = dict[str, int]


def without_covered(dots: Dots, context: VersionVector) -> Dots:
    """Return the dots that the context does not cover."""
    return {region: sequence for region, sequence in dots.items() if not context.covers(region, sequence)}


def with_dot(dots: Dots, waiting: Mapping[str, int], region: str, sequence: int) -> Dots:
    """Return the dots with one more, unless it is covered already, or delivered twice."""
    known = max(dots.get(region, 0), waiting.get(region, 0))
    return dots if sequence <= known else {**dots, region: sequence}


def joined(waiting: Mapping[str, int], context: VersionVector) -> Dots:
    return dict(VersionVector(waiting).join(context).items())


def beyond(waiting: Mapping[str, int], seen: VersionVector) -> Dots:
    return dict(VersionVector(waiting).beyond(seen).items())


def merged(
    ours: Mapping[str, Entry],
    theirs: Mapping[str, Entry],
    ours_gone: VersionVector,
    theirs_gone: VersionVector,
    sequence: Callable[[Entry], int] = lambda entry: entry,  # type: ignore[assignment, return-value]
) -> dict[str, Entry]:
    """Return the entries alive on both sides. `gone` is what a side has seen or covered: an entry in it that the side does
    not hold is dead."""
    alive: dict[str, Entry] = {}
    for region in sorted({*ours, *theirs}):
        a, b = ours.get(region), theirs.get(region)
        held = []
        if a is not None and (a == b or not theirs_gone.covers(region, sequence(a))):
            held.append(a)
        if b is not None and (a == b or not ours_gone.covers(region, sequence(b))):
            held.append(b)
        if held:
            alive[region] = max(held, key=sequence)
    return alive


def each(entries: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the result of `change` for every entry, without the empty results."""
    return {key: changed for key, entry in entries.items() if (changed := change(entry))}


def put(entries: dict[str, Any], key: str, entry: Any) -> dict[str, Any]:
    """Return `entries` with `key` set to `entry`, or without it when `entry` is empty."""
    if entry:
        return {**entries, key: entry}
    return {other: value for other, value in entries.items() if other != key} if key in entries else entries
