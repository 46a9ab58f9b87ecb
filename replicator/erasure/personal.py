"""Personal data of one region: protect it on writing, reveal it on reading, forget it (crypto-shredding)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from replicator.domain.names import StreamId
from replicator.domain.protected import Path, Protected
from replicator.erasure.cache import KeyCache
from replicator.erasure.envelope import NONCE_BYTES, Envelope, close, open_
from replicator.erasure.forgetting import Forgetting, forget
from replicator.erasure.forgotten import SubjectForgotten, check_subject
from replicator.erasure.keyring import Keyring
from replicator.erasure.keys import KeyStorage
from replicator.erasure.payload import FieldForgotten, Revealed, protect_fields, reveal_fields
from replicator.erasure.wrapping import Wrapping
from replicator.eventstore.store import EventStore

_KEYS_KEPT = 10_000
_SECONDS_KEPT = 60.0


class PersonalData:
    """Encrypts and decrypts personal fields with a key per subject. Safe to share between threads.

    `keys` are the key storages of this region and of its peers, by region. An unwrapped key stays in this process for up to
    a minute: during that time another process may still read forgotten data, or write data that no reader can decrypt.
    """

    def __init__(
        self,
        region: str,
        keys: Mapping[str, KeyStorage],
        wrapping: Wrapping,
        now: Callable[[], float] = time.monotonic,
        seconds: float = _SECONDS_KEPT,
    ) -> None:
        self.region = region
        self._keys = dict(keys)
        self._cache = KeyCache(now, seconds, _KEYS_KEPT)
        self._ring = Keyring(region, self._keys, wrapping, self._cache, now)

    def protect(self, subject: str, payload: Mapping[str, Any], fields: Iterable[str]) -> Protected:
        """Return the payload with these fields encrypted for `subject`; its key is created if there is none yet.

        A field is a name, or names joined by dots for a nested one (`address.street`). Protect again for another
        subject's fields. Raises SubjectForgotten, InvalidEvent (no such field, or a payload with an envelope of its own),
        InvalidName, RegionUnavailable.
        """
        key_id, key = self._ring.current(check_subject(subject))

        def encrypt(value: Any, path: Path) -> Envelope:
            return close(value, subject, key_id, key, path, secrets.token_bytes(NONCE_BYTES))

        return protect_fields(payload, fields, encrypt)

    def reveal(
        self,
        payload: Mapping[str, Any],
        forgotten: Collection[str] = (),
        written: Mapping[str, Any] | None = None,
    ) -> Revealed:
        """Return the payload with its personal fields decrypted, without those of forgotten subjects: because they are in
        `forgotten`, which needs no request, or because a region has them as forgotten. `written` is the payload as it was
        stored, if `payload` is the result of upcasters.

        Raises DamagedEvent (altered, moved or cut text; a key missing in every region though the subject is not forgotten),
        RegionUnavailable when the region that has the key does not answer, InvalidConfig.
        """

        def decrypt(envelope: Envelope, path: Path) -> Any:
            if envelope.subject in forgotten:
                raise FieldForgotten(path[-1])
            try:
                key = self._ring.find(envelope.subject, envelope.key)
            except SubjectForgotten:
                raise FieldForgotten(path[-1]) from None
            return open_(envelope, key, path)

        return reveal_fields(payload, decrypt, written)

    def forget(self, store: EventStore, subject: str, streams: Iterable[StreamId | str] = ()) -> Forgetting:
        """Forget the subject permanently, in every region: see `replicator.erasure.forget`."""
        answer = forget(store, self._keys, subject, streams)
        self._cache.drop(subject)
        if self.region in answer.destroyed:
            self._cache.forget(subject)
        return answer

    def destroy(self, subject: str) -> None:
        """Destroy the subject's keys in this region alone, as its projector does when it reaches the event. Idempotent."""
        self._ring.destroy(subject)
