"""In-memory control state for tests and the simulator."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping

from replicator.control.control_storage import Guard, Place, Value, control_text


class MemoryControl:
    """ControlStorage in memory."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._identity = uuid.uuid4().hex

    def identity(self) -> str:
        return self._identity

    def put(self, scope: str, values: dict[str, Value]) -> None:
        with self._lock:
            self._scopes.setdefault(scope, {}).update({key: control_text(value) for key, value in values.items()})

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        with self._lock:
            held = self._scopes.setdefault(scope, {})
            if held.get(key) == (None if before is None else control_text(before)):
                held[key] = control_text(after)
            return held.get(key) == control_text(after)

    def swap_each(self, changes: Mapping[Place, tuple[Value | None, Value]]) -> None:
        values = {id(value): value for pair in changes.values() for value in pair if value is not None}
        texts = {number: control_text(value) for number, value in values.items()}  # most are one and the same
        with self._lock:
            for (scope, key), (before, after) in changes.items():
                held = self._scopes.setdefault(scope, {})
                if held.get(key) == (None if before is None else texts[id(before)]):
                    held[key] = texts[id(after)]

    def get(self, scope: str, key: str) -> Value | None:
        with self._lock:
            text = self._scopes.get(scope, {}).get(key)
        return None if text is None else json.loads(text)

    def get_scopes(self, scopes: Collection[str]) -> dict[str, dict[str, Value]]:
        with self._lock:
            held = {scope: dict(self._scopes.get(scope, {})) for scope in scopes}
        values = {text: json.loads(text) for text in {text for texts in held.values() for text in texts.values()}}
        return {scope: {key: values[text] for key, text in sorted(texts.items())} for scope, texts in held.items()}

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        with self._lock:
            held = sorted((key, text) for key, text in self._scopes.get(scope, {}).items() if key > after)
        yield from ((key, json.loads(text)) for key, text in held[:limit])

    def still(self) -> threading.Lock:
        """Return a lock under which nothing here changes; a guarded insert in memory holds it."""
        return self._lock

    def holds(self, guard: Guard) -> bool:
        """Return whether the guard holds. Call it under `still()`."""
        return self._scopes.get(guard.scope, {}).get(guard.key) == control_text(guard.value)

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        with self._lock:
            held = self._scopes.get(scope, {})
            for key, value in values.items():
                if held.get(key) == control_text(value):
                    del held[key]
