"""Versions of projections that readers see. They stand side by side in a sink: N goes on while N+1 is built beside it,
readers are switched with one write, and N stays for a way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from projectors.model.projection import Projection
from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import InvalidConfig, MeridianError, RegionUnavailable

_ACTIVE = "projection#active"
_BUILT = "projection#built"
_SECONDS_KEPT = 1.0


class NotSwitched(MeridianError):
    """Readers were not switched: the version is not fit for them, or another process has switched meanwhile."""


@dataclass(frozen=True, slots=True)
class Build:
    """Progress of a version's build from the whole history, as `projectors rebuild` checkpoints it."""

    after: str = ""
    """Last stream, in the order of their names, that is folded."""
    streams: int = 0
    events: int = 0
    seconds: float = 0.0
    failures: int = 0
    """Number of events that the projection could not process."""
    built: bool = False
    drops: int = 0
    """Number of drops of the version before the build began: what was built before a drop does not count."""


class Versions:
    """Versions in one sink (by its name) of a region's projections; kept in the region's control state. Safe to share
    between threads."""

    def __init__(self, control: ControlStorage, sink: str = "dynamodb", clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._sink = sink
        self._clock = clock
        self._known: tuple[float, dict[str, dict[str, Any]]] | None = None

    def active(self, name: str) -> int | None:
        """Return the version that readers see, None if none was ever chosen. At most one second old."""
        return self._current(name).get("active")

    def previous(self, name: str) -> int | None:
        """Return the version that readers saw before: the way back."""
        return self._current(name).get("previous")

    def chosen(self, projections: Iterable[type[Projection]]) -> dict[str, type[Projection]]:
        """Return, by name, the class that readers are to use: the active version's, or the lowest if none was ever chosen.

        Raises InvalidConfig when the active version's class is not among them.
        """
        by_name: dict[str, dict[int, type[Projection]]] = {}
        for each in projections:
            by_name.setdefault(each.name, {})[each.version] = each
        found: dict[str, type[Projection]] = {}
        for name, versions in by_name.items():
            try:
                active = self.active(name)
            except RegionUnavailable:
                if len(versions) > 1:
                    raise
                active = None  # there is nothing to choose from
            if active is not None and active not in versions:
                given = ", ".join(map(str, sorted(versions)))
                raise InvalidConfig(
                    f"readers of projection {name} see version {active}, but only version {given} is loaded; give that "
                    f"class too, or switch: projectors switch {name} {max(versions)}"
                )
            found[name] = versions[min(versions) if active is None else active]
        return found

    def seen(self, name: str, projections: Iterable[type[Projection]] = ()) -> int:
        """Return the version that readers see: the active one; if none was ever chosen the lowest of those loaded, or 1."""
        active = self.active(name)
        return min((each.version for each in projections if each.name == name), default=1) if active is None else active

    def known(self) -> Iterator[tuple[str, int | None, int | None]]:
        """Yield (name, active, previous) of every projection whose readers were ever switched in this sink."""
        end = f" {self._sink}"
        for key, value in self._control.get_all(_ACTIVE):
            if key.endswith(end):
                yield key.removesuffix(end), value.get("active"), value.get("previous")

    def switch(self, name: str, version: int, *, was: int = 1, force: bool = False) -> int | None:
        """Let readers see `version` from now on. Returns what they saw before, None if there was no switch before: they saw
        `was` then. One conditional write: they see the one or the other, and never go back and forth.

        Raises NotSwitched when the version is not completely built (unless `force`, or readers saw it before this one), or
        is being dropped.
        """
        before = self._fresh(name)
        active: int | None = before.get("active")
        if active == version:
            return active
        if version in before.get("dropping", ()):
            raise NotSwitched(
                f"version {version} of {name} is being dropped; wait until `projectors drop` ends, and rebuild it"
            )
        seen = was if active is None else active
        if not force and version not in (before.get("previous"), seen):
            self._fit(name, version, before)
        self._change(name, before, {**before, "active": version, "previous": seen if seen != version else None})
        return active

    def _fit(self, name: str, version: int, record: Mapping[str, Any]) -> None:
        build = self.build(name, version)
        if build is None or not build.built or build.drops != _drops(record, version):
            far = f"{build.streams:,} streams are done" if build is not None else "not begun"
            raise NotSwitched(f"version {version} of {name} is not built ({far}); run `projectors rebuild`, or give --force")
        if build.failures:
            raise NotSwitched(
                f"version {version} of {name} could not process {build.failures:,} events, so some of its views stopped; "
                "correct the projection, raise its version and build that, or give --force"
            )

    def begin(self, name: str, version: int) -> Build:
        """Return the progress of a build, to go on from there. Raises NotSwitched while the version is being dropped."""
        record = self._fresh(name)
        if version in record.get("dropping", ()):
            raise NotSwitched(
                f"version {version} of {name} is being dropped; wait until `projectors drop` ends before building it"
            )
        build, drops = self.build(name, version), _drops(record, version)
        return build if build is not None and build.drops == drops else Build(drops=drops)

    def dropping(self, name: str, version: int, *, force: bool = False) -> None:
        """Record that a version's views are about to be removed: no build or switch is permitted until `dropped`.
        Idempotent.

        Raises NotSwitched for the one that readers see, and, unless `force`, if there was never a switch: it may be that
        one.
        """
        before = self._fresh(name)
        if before.get("active") == version:
            raise NotSwitched(f"readers see version {version} of {name}; switch them to another version first")
        if before.get("active") is None and not force:
            raise NotSwitched(
                f"readers of {name} were never switched, so they may see version {version}; switch, or give --force"
            )
        previous = before.get("previous")
        after = {
            **before,
            "previous": None if previous == version else previous,
            "dropping": sorted({*before.get("dropping", ()), version}),
            "drops": {**before.get("drops", {}), str(version): _drops(before, version) + 1},
        }
        self._change(name, before, after)
        self._unbuild(name, version)

    def dropped(self, name: str, version: int) -> None:
        """Record that all of a version's views are removed."""
        before = self._fresh(name)
        self._change(name, before, {**before, "dropping": [each for each in before.get("dropping", ()) if each != version]})
        self._unbuild(name, version)

    def _unbuild(self, name: str, version: int) -> None:
        key = self._key(name, version)
        self._control.delete(_BUILT, {each: value for each, value in self._control.get_all(_BUILT) if each == key})

    def _fresh(self, name: str) -> dict[str, Any]:
        self._known = None
        return dict(self._current(name))

    def _change(self, name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        if not self._control.swap(_ACTIVE, self._key(name), before or None, after):
            raise NotSwitched(
                f"the version that readers of {name} see was changed concurrently; check `projectors versions`"
            )
        self._known = None

    def build(self, name: str, version: int) -> Build | None:
        """Return the progress of a version's build, None if it was never begun."""
        value = dict(self._control.get_all(_BUILT)).get(self._key(name, version))
        return (
            None if value is None else Build(**{each.name: value[each.name] for each in fields(Build) if each.name in value})
        )

    def keep(self, name: str, version: int, build: Build) -> None:
        """Checkpoint a build."""
        self._control.put(_BUILT, {self._key(name, version): asdict(build)})

    def all(self) -> Sequence[tuple[str, int, Build]]:
        """Return (name, version, build) of every version whose build was ever begun in this sink."""
        end = f" {self._sink}"
        found = []
        for key, _ in self._control.get_all(_BUILT):
            name, _, version = key.removesuffix(end).rpartition("@")
            build = self.build(name, int(version)) if key.endswith(end) else None
            if build is not None:
                found.append((name, int(version), build))
        return found

    def _current(self, name: str) -> Mapping[str, Any]:
        known = self._known
        if known is None or self._clock() - known[0] > _SECONDS_KEPT:
            try:
                known = (self._clock(), dict(self._control.get_all(_ACTIVE)))
            except RegionUnavailable:
                if known is None:
                    raise
                known = (self._clock(), known[1])  # readers go on with what they saw
            self._known = known
        return known[1].get(self._key(name), {})

    def _key(self, name: str, version: int | None = None) -> str:
        return f"{name} {self._sink}" if version is None else f"{name}@{version} {self._sink}"


def _drops(record: Mapping[str, Any], version: int) -> int:
    return int(record.get("drops", {}).get(str(version), 0))
