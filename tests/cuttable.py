"""Keys of a region that other regions may not reach."""

from __future__ import annotations

from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.erasure import KeyStorage, MemoryKeys, SubjectKeys


class Cuttable:
    """Keys of a region as others see it: perhaps down."""

    def __init__(self, keys: KeyStorage | None = None, down: bool = False) -> None:
        self.keys = keys or MemoryKeys()
        self.down = down
        self.error: MeridianError = RegionUnavailable("the region does not answer")
        self.asked = 0

    def _reached(self) -> KeyStorage:
        self.asked += 1
        if self.down:
            raise self.error
        return self.keys

    def get(self, subject: str) -> SubjectKeys:
        return self._reached().get(subject)

    def add(self, subject: str, key_id: str, wrapped: bytes) -> bool:
        return self._reached().add(subject, key_id, wrapped)

    def forget(self, subject: str) -> None:
        self._reached().forget(subject)
