"""Keyring of one region's process (envelope encryption): the current key to encrypt with, and the lookup of earlier keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

import structlog

from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.erasure.cache import KeyCache
from replicator.erasure.envelope import home_of
from replicator.erasure.forgotten import KeyUnavailable, SubjectForgotten
from replicator.erasure.keys import KeyStorage, SubjectKeys
from replicator.erasure.wrapping import Wrapping

log = structlog.get_logger()

_LEFT_ALONE = 20.0
"""Seconds without requests to a region that did not answer: many keys may wait for it, and each would wait again."""


class Keyring:
    """Unwrapped keys of `region`. `keys` are the key storages of it and its peers, by region. Safe to share between threads.

    Every method raises SubjectForgotten once the subject is forgotten, and never merely because a region does not answer.
    """

    def __init__(
        self,
        region: str,
        keys: Mapping[str, KeyStorage],
        wrapping: Wrapping,
        cache: KeyCache,
        now: Callable[[], float],
    ) -> None:
        self._region = region
        self._keys = dict(keys)
        self._own = self._keys[region]
        self._wrapping = wrapping
        self._cache = cache
        self._now = now
        self._silent_until: dict[str, float] = {}

    def current(self, subject: str) -> tuple[str, bytes]:
        """Return the id and key to encrypt with: a key stored here, preferably one made here, or a new one."""
        self._check(subject)
        known = self._cache.keys(subject)
        if known:
            key_id = min(known, key=self._preference)
            return key_id, known[key_id]
        held = self._own.get(subject)
        if held.forgotten:
            raise self._forgotten(subject)
        if held.keys:
            key_id = min(held.keys, key=self._preference)
            return key_id, self._unwrap(subject, key_id, held.keys[key_id])
        key_id = f"{self._region}.{secrets.token_urlsafe(16)}"
        key, wrapped = self._wrapping.generate(subject)
        if not self._own.add(subject, key_id, wrapped):  # stored before anything is encrypted with it, or never used
            raise self._forgotten(subject)
        self._cache.put(subject, key_id, key)
        return key_id, key

    def find(self, subject: str, key_id: str) -> bytes:
        """Return a key by its id: cached, stored here, or fetched from the region that made it or else from any that has it.

        Raises KeyUnavailable when a region that may have it does not answer, DamagedEvent when none has it.
        """
        self._check(subject)
        key = self._cache.keys(subject).get(key_id)
        if key is not None:
            return key
        held = self._own.get(subject)
        if not held.forgotten and key_id not in held.keys:
            held = self._fetch(subject, key_id)
            if held.forgotten or not self._own.add(subject, key_id, held.keys[key_id]):
                self.destroy(subject)
        if held.forgotten or self._cache.forgotten(subject):
            raise self._forgotten(subject)
        return self._unwrap(subject, key_id, held.keys[key_id])

    def destroy(self, subject: str) -> None:
        """Destroy the subject's keys in this region, in its storage and in this process. Idempotent."""
        if not self._cache.forgotten(subject):
            self._own.forget(subject)
            self._cache.forget(subject)
            log.info("erasure.destroyed", region=self._region, subject=subject)

    def _fetch(self, subject: str, key_id: str) -> SubjectKeys:
        home = home_of(key_id)
        silent: list[str] = []
        for region in sorted(self._keys.keys() - {self._region}, key=lambda name: (name != home, name)):
            if self._now() < self._silent_until.get(region, 0.0):
                silent.append(f"{region} did not answer recently")
                continue
            try:
                held = self._keys[region].get(subject)
            except (RegionUnavailable, InvalidConfig) as error:
                self._silent_until[region] = self._now() + _LEFT_ALONE
                silent.append(str(error))
                continue
            if held.forgotten or key_id in held.keys:
                return held
        if silent:
            raise KeyUnavailable(f"key {key_id} of {subject} is not here; waiting for other regions: {'; '.join(silent)}")
        raise DamagedEvent(
            f"key {key_id} of {subject} is in no region, and was not forgotten. Restore the keys table of {home}, or "
            "accept the loss: replicator forget"
        )

    def _unwrap(self, subject: str, key_id: str, wrapped: bytes) -> bytes:
        key = self._wrapping.unwrap(subject, wrapped)
        self._cache.put(subject, key_id, key)
        return key

    def _check(self, subject: str) -> None:
        if self._cache.forgotten(subject):
            raise SubjectForgotten(subject)

    def _forgotten(self, subject: str) -> SubjectForgotten:
        self._cache.forget(subject)
        return SubjectForgotten(subject)

    def _preference(self, key_id: str) -> tuple[bool, str]:
        return (home_of(key_id) != self._region, key_id)
