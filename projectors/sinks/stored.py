"""Conversion of stored fields into a view, or into the error that they are damaged. The same for every sink."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from projectors.engine.digests import Fingerprint
from projectors.model.view import View, ViewKey
from replicator.domain.canonical import netstrings
from replicator.domain.errors import DamagedEvent, MeridianError
from replicator.domain.vector import EMPTY, VersionVector


def restored(key: ViewKey, vector: Any, state: Any, value: Any, digest: Any) -> View:
    """Return the view that was saved under `key`. Raises DamagedEvent for fields that are missing, of another type or
    unreadable, and for a digest that does not match them."""
    parsed = _vector(vector)
    fields = state, value, digest
    if parsed is None or not all(isinstance(field, kind) for field, kind in zip(fields, (str, str, bytes), strict=True)):
        raise DamagedEvent(f"view {_named(key)} is incomplete; rebuild it from the events")
    view = View(key.projection, key.version, key.key, parsed, state, value, key.row)
    try:
        sound = view.digest == digest
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise DamagedEvent(f"view {_named(key)} does not match its digest; rebuild it from the events")
    return view


def fingerprint(key: ViewKey, vector: Any, state: Any, value: Any, digest: Any) -> Fingerprint:
    """Return the fingerprint of a stored view, computed from all its fields: no damaged view has that of a sound one."""
    try:
        view = restored(key, vector, state, value, digest)
    except DamagedEvent:
        return _damaged(vector, state, value, digest)
    return Fingerprint(view.vector, digest)


def claimed(vector: Any, digest: Any) -> Fingerprint:
    """Return the fingerprint that a stored view claims, as far as it can be read."""
    parsed = _vector(vector)
    if parsed is None or not isinstance(digest, bytes) or len(digest) != 32:
        return _damaged(vector, digest)
    return Fingerprint(parsed, digest)


def text(field: Any) -> Any:
    """Return bytes as text, and any other value unchanged."""
    try:
        return field.decode() if isinstance(field, bytes) else field
    except UnicodeDecodeError:
        return field


def _damaged(*fields: Any) -> Fingerprint:
    """Return a fingerprint with the empty vector, whatever can be read of it: a comparison must not take it for delay."""
    return Fingerprint(EMPTY, sha256(netstrings(b"damaged", *(ascii(field).encode() for field in fields))).digest())


def _vector(given: Any) -> VersionVector | None:
    """Return a stored vector. Another spelling of it is invalid: stores compare it as text."""
    try:
        parsed = VersionVector.parse(given)
        return parsed if str(parsed) == given else None
    except (MeridianError, ValueError, TypeError, AttributeError):
        return None


def _named(key: ViewKey) -> str:
    return f"{key.projection} {key.key}" + (f" in row {key.row}" if key.row else "")
