"""The sink in memory: for tests, examples and the simulator. Held to the same contract as DynamoDB."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from projectors.sink import Change, ViewKey
from projectors.view import View


class MemorySink:
    """A Sink that lives as long as the process."""

    def __init__(self) -> None:
        self._views: dict[ViewKey, View] = {}
        self._lock = threading.Lock()

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        with self._lock:
            return {key: self._views[key] for key in keys if key in self._views}

    def save(self, changes: Sequence[Change]) -> list[bool]:
        with self._lock:
            saved = []
            for change in changes:
                key = (change.view.projection, change.view.key)
                stored = self._views.get(key)
                matches = change.before == (stored.vector if stored else None)
                if matches:
                    self._views[key] = change.view
                saved.append(matches)
            return saved

    def views(self, projection: str) -> Iterator[View]:
        with self._lock:
            found = [view for (name, _), view in sorted(self._views.items()) if name == projection]
        yield from found
