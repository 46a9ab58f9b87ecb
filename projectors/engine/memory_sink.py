"""Sink in memory: for tests, examples, scratch views and the simulator. Held to the same contract as the others."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from projectors.engine.digests import Summary, Tree
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey


class MemorySink:
    """Sink that lives as long as the process."""

    def __init__(self) -> None:
        self._views: dict[ViewKey, View] = {}
        self._rows: dict[tuple[str, int, str], dict[str, View]] = {}
        self._before: dict[ViewKey, View | None] = {}
        self._lock = threading.Lock()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        with self._lock:
            return {key: self._views[key] for key in keys if key in self._views}

    def glance(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """As LoadsCheaply: every view as it was before its last change."""
        with self._lock:
            found = {key: self._before.get(key) for key in keys}
        return {key: view for key, view in found.items() if view is not None}

    def save(self, changes: Sequence[Change]) -> list[bool]:
        with self._lock:
            return [self._save(change) for change in changes]

    def _save(self, change: Change) -> bool:
        stored = self._views.get(change.view.id)
        if change.before != (stored.vector if stored else None):
            return stored == change.view
        view = change.view
        self._before[view.id] = stored
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

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        return Tree.of(self.views(projection, version))

    def discard(self, keys: Collection[ViewKey]) -> None:
        with self._lock:
            for key in keys:
                self._discard(key)

    def _discard(self, key: ViewKey) -> None:
        self._views.pop(key, None)
        row = (key.projection, key.version, key.row)
        cells = self._rows.get(row, {})
        cells.pop(key.key, None)
        if not cells:
            self._rows.pop(row, None)

    def drop(self, projection: str, version: int) -> Iterator[int]:
        gone = 0
        for cells in (False, True):
            with self._lock:
                doomed = [key for key in self._views if _of(key, projection, version) and bool(key.row) is cells]
                for key in doomed:
                    self._discard(key)
            gone += len(doomed)
            yield gone


def _of(key: ViewKey, projection: str, version: int) -> bool:
    return (key.projection, key.version) == (projection, version)
