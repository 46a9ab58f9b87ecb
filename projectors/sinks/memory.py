"""The sink in memory: for tests, examples, scratch views and the simulator. Held to the same contract as the others."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from projectors.sinks.port import Change
from projectors.summary import Summary, Tree
from projectors.view import View, ViewKey


class MemorySink:
    """A Sink that lives as long as the process."""

    def __init__(self) -> None:
        self._views: dict[ViewKey, View] = {}
        self._rows: dict[tuple[str, int, str], dict[str, View]] = {}
        self._lock = threading.Lock()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        with self._lock:
            return {key: self._views[key] for key in keys if key in self._views}

    def save(self, changes: Sequence[Change]) -> list[bool]:
        with self._lock:
            return [self._save(change) for change in changes]

    def _save(self, change: Change) -> bool:
        stored = self._views.get(change.view.id)
        if change.before != (stored.vector if stored else None):
            return stored == change.view
        view = change.view
        self._views[view.id] = view
        if view.row:
            self._rows.setdefault((view.projection, view.version, view.row), {})[view.key] = view
        return True

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        with self._lock:
            found = [view for key, view in sorted(self._views.items()) if _of(key, projection, version)]
        yield from found

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        with self._lock:
            found = sorted(self._rows.get((projection, version, row), {}).items())
        yield from (view for _, view in found)

    def summary(self, projection: str, version: int = 1) -> Summary:
        return Tree.of(self.views(projection, version))

    def drop(self, projection: str, version: int) -> Iterator[int]:
        with self._lock:
            gone = [key for key in self._views if _of(key, projection, version)]
            for key in gone:
                del self._views[key]
                self._rows.pop((projection, version, key.row), None)
        yield len(gone)


def _of(key: ViewKey, projection: str, version: int) -> bool:
    return (key.projection, key.version) == (projection, version)
