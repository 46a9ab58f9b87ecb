"""Port of key storage: one region's wrapped keys of subjects. Every backend passes one contract test,
tests/replicator/erasure/test_keys.py. Not part of the events table: keys can be destroyed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """Content of a subject in one region: wrapped keys by id, or the mark that it was forgotten, and then never a key
    again."""

    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    forgotten: bool = False


class KeyStorage(Protocol):
    """One region's keys. All methods can be repeated, and raise RegionUnavailable when the region does not answer."""

    def get(self, subject: str) -> SubjectKeys:
        """Read everything stored of the subject, strongly consistent."""

    def add(self, subject: str, key_id: str, wrapped: bytes) -> bool:
        """Store a key beside the others; an existing one stays as it is. Returns False, and stores nothing, once the subject
        is forgotten: both are decided in one step, whatever runs at the same time."""

    def forget(self, subject: str) -> None:
        """Destroy every key of the subject, and reject all later ones."""


class MemoryKeys:
    """KeyStorage that lives as long as the process."""

    def __init__(self) -> None:
        self._subjects: dict[str, SubjectKeys] = {}
        self._lock = threading.Lock()

    def get(self, subject: str) -> SubjectKeys:
        with self._lock:
            return self._subjects.get(subject, SubjectKeys())

    def add(self, subject: str, key_id: str, wrapped: bytes) -> bool:
        with self._lock:
            held = self._subjects.get(subject, SubjectKeys())
            if held.forgotten:
                return False
            self._subjects[subject] = SubjectKeys({key_id: wrapped, **held.keys})
            return True

    def forget(self, subject: str) -> None:
        with self._lock:
            self._subjects[subject] = SubjectKeys(forgotten=True)
