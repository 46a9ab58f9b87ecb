"""Cache of unwrapped keys in one process, bounded in time and number. Forgotten subjects stay known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock


class KeyCache:
    """Keys by subject and id. Safe to share between threads. `now` is a monotonic time in seconds."""

    def __init__(self, now: Callable[[], float], seconds: float, size: int) -> None:
        self._now = now
        self._seconds = seconds
        self._size = size
        self._subjects: OrderedDict[str, dict[str, tuple[float, bytes]]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def keys(self, subject: str) -> dict[str, bytes]:
        """Return the subject's cached keys that are still fresh, by id."""
        with self._lock:
            held = self._subjects.get(subject, {})
            end = self._now()
            fresh = {key_id: entry for key_id, entry in held.items() if entry[0] > end}
            if len(fresh) != len(held):
                self._subjects[subject] = fresh
            return {key_id: key for key_id, (_, key) in fresh.items()}

    def forgotten(self, subject: str) -> bool:
        with self._lock:
            return subject in self._forgotten

    def put(self, subject: str, key_id: str, key: bytes) -> None:
        with self._lock:
            if subject in self._forgotten:
                return
            self._subjects.setdefault(subject, {})[key_id] = (self._now() + self._seconds, key)
            self._subjects.move_to_end(subject)
            while len(self._subjects) > self._size:
                self._subjects.popitem(last=False)

    def drop(self, subject: str) -> None:
        """Drop the subject's keys."""
        with self._lock:
            self._subjects.pop(subject, None)

    def forget(self, subject: str) -> None:
        """Drop the subject's keys, and record it as forgotten from now on."""
        with self._lock:
            self._subjects.pop(subject, None)
            self._forgotten[subject] = None
            while len(self._forgotten) > self._size:
                self._forgotten.popitem(last=False)
