"""Payloads with personal fields: finding and protecting fields, and the reader's view after forgetting
(crypto-shredding)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidEvent
from replicator.domain.protected import MARKER, Path, Protected, marked
from replicator.erasure.envelope import Envelope, shown_path


class FieldForgotten(KeyError):
    """Internal: the payload field being read belongs to a forgotten subject. `dict.get` returns its default instead."""


class Revealed(dict[str, Any]):
    """Payload with its personal fields decrypted. Forgotten fields are left out: `get` returns its default, and `[]` and
    `pop` raise FieldForgotten, so that forgotten fields differ from fields that never existed."""

    def __init__(self, values: Mapping[str, Any] = {}, forgotten: Iterable[str] = (), subjects: Iterable[str] = ()) -> None:
        super().__init__(values)
        self.forgotten = frozenset(forgotten)
        """Names that are missing here because they are forgotten."""
        self.subjects = frozenset(subjects)
        """Subjects of the forgotten fields, here and in nested objects."""

    def __missing__(self, name: str) -> Any:
        raise FieldForgotten(name) if name in self.forgotten else KeyError(name)

    def pop(self, name: str, *default: Any) -> Any:
        return super().pop(name, *default) if name in self or default else self[name]


def protect_fields(payload: Mapping[str, Any], fields: Iterable[str], encrypt: Callable[[Any, Path], Envelope]) -> Protected:
    """Return the payload with each of `fields` in an envelope. A field is a name, or names joined by dots for a nested one
    (`address.street`, `people.0.name`). The given payload is not changed.

    Raises InvalidEvent for a field that does not exist (a misspelt name would leave personal data unencrypted permanently)
    and for a payload that already contains an envelope made elsewhere: it could be another subject's.
    """
    made: frozenset[tuple[Path, Envelope]] = payload.made if isinstance(payload, Protected) else frozenset()
    for path, value in marked(payload):
        if not any(path == known and value == envelope.json() for known, envelope in made):
            raise InvalidEvent(
                f"payload field {shown_path(path)} has the key {MARKER!r}, which marks what Meridian has encrypted; rename "
                "it, and never accept it from users"
            )
    result: Any = dict(payload)
    for field in dict.fromkeys(fields):
        path = tuple(field.split("."))
        result, envelope = _replaced(result, path, path, encrypt)
        made |= {(path, envelope)}
    return Protected(result, made)


def reveal_fields(
    payload: Mapping[str, Any], decrypt: Callable[[Envelope, Path], Any], written: Mapping[str, Any] | None = None
) -> Revealed:
    """Return the payload with every envelope replaced by the result of `decrypt`, or left out if that raises FieldForgotten.

    `written` is the payload as it was stored, if upcasters have moved its fields since: an envelope must match its place
    at that time. Raises DamagedEvent for an envelope that cannot have been written by `protect_fields`, and whatever
    `decrypt` raises.
    """
    if written is None:
        return _revealed(payload, (), decrypt)
    places = {Envelope.read(value, path): path for path, value in marked(written)}

    def decrypt_as_written(envelope: Envelope, path: Path) -> Any:
        if envelope not in places:
            raise DamagedEvent(f"personal field {shown_path(path)} is not one that was written with this event")
        return decrypt(envelope, places[envelope])

    return _revealed(payload, (), decrypt_as_written)


def _replaced(value: Any, rest: Path, path: Path, encrypt: Callable[[Any, Path], Envelope]) -> tuple[Any, Envelope]:
    """Return `value` with the field at `rest` in an envelope. Only an object's key can hold one: removing a forgotten
    element from a list would move the others."""
    name, further = rest[0], rest[1:]
    if isinstance(value, Mapping) and name in value:
        if further:
            inner, envelope = _replaced(value[name], further, path, encrypt)
            return {**value, name: inner}, envelope
        if any(marked(value[name])):
            raise InvalidEvent(f"payload field {shown_path(path)} is protected already, or holds a field that is")
        envelope = encrypt(value[name], path)
        return {**value, name: envelope.json()}, envelope
    if isinstance(value, list | tuple) and further and name.isdecimal() and int(name) < len(value):
        inner, envelope = _replaced(value[int(name)], further, path, encrypt)
        return [*value[: int(name)], inner, *value[int(name) + 1 :]], envelope
    raise InvalidEvent(
        f"payload has no field {shown_path(path)} to protect; name an existing key of an object, or keys joined by dots"
    )


def _revealed(values: Mapping[str, Any], path: Path, decrypt: Callable[[Envelope, Path], Any]) -> Revealed:
    if MARKER in values:
        raise DamagedEvent(f"personal field {shown_path(path) or 'payload'} stands where Meridian never writes one")
    kept: dict[str, Any] = {}
    forgotten: set[str] = set()
    subjects: set[str] = set()
    for name, value in values.items():
        here = (*path, name)
        if isinstance(value, Mapping) and MARKER in value:
            envelope = Envelope.read(value, here)
            try:
                kept[name] = decrypt(envelope, here)
            except FieldForgotten:
                forgotten.add(name)
                subjects.add(envelope.subject)
        else:
            kept[name] = _inner(value, here, decrypt, subjects)
    return Revealed(kept, forgotten, subjects)


def _inner(value: Any, path: Path, decrypt: Callable[[Envelope, Path], Any], subjects: set[str]) -> Any:
    if isinstance(value, Mapping):
        found = _revealed(value, path, decrypt)
        subjects.update(found.subjects)
        return found
    if isinstance(value, list):
        return [_inner(inner, (*path, str(position)), decrypt, subjects) for position, inner in enumerate(value)]
    return value
