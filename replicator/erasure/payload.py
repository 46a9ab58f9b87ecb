"""Payloads with personal fields: finding them, protecting them, and what a reader gets of those that are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidEvent
from replicator.domain.protected import MARKER, Path, Protected, marked
from replicator.erasure.envelope import Envelope, shown_path


class FieldForgotten(KeyError):
    """Internal: a payload's field is read whose subject has been forgotten. `dict.get` gives its default instead."""


class Revealed(dict[str, Any]):
    """A payload with its personal fields decrypted. Those that are forgotten are not in it: `get` gives its default, and
    `[]` and `pop` raise FieldForgotten, so that what was never there and what is forgotten can be told apart."""

    def __init__(self, values: Mapping[str, Any] = {}, forgotten: Iterable[str] = (), subjects: Iterable[str] = ()) -> None:
        super().__init__(values)
        self.forgotten = frozenset(forgotten)
        """The names that are missing here because they are forgotten."""
        self.subjects = frozenset(subjects)
        """Whose fields are forgotten, here and further inside."""

    def __missing__(self, name: str) -> Any:
        raise FieldForgotten(name) if name in self.forgotten else KeyError(name)

    def pop(self, name: str, *default: Any) -> Any:
        return super().pop(name, *default) if name in self or default else self[name]


def protect_fields(payload: Mapping[str, Any], fields: Iterable[str], encrypt: Callable[[Any, Path], Envelope]) -> Protected:
    """The payload with each of `fields` in an envelope. A field is a name, or names joined by dots for one further inside
    (`address.street`, `people.0.name`). The given payload stays as it is.

    Raises InvalidEvent for a field that is not there (a misspelt name would leave personal data in the open, for good) and
    for a payload that has an envelope of its own making in it: it could be another subject's.
    """
    made: frozenset[tuple[Path, Envelope]] = payload.made if isinstance(payload, Protected) else frozenset()
    for path, value in marked(payload):
        if not any(path == known and value == envelope.json() for known, envelope in made):
            raise InvalidEvent(
                f"payload field {shown_path(path)} has the key {MARKER!r}, which marks what Meridian has encrypted; rename "
                "it, and never take it over from users"
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
    """The payload with every envelope replaced by what `decrypt` gives, or left out where it raises FieldForgotten.

    `written` is the payload as it was stored, when upcasters have moved its fields since: an envelope is held to where it
    stood then. Raises DamagedEvent for an envelope that cannot have been written by `protect_fields`, and whatever
    `decrypt` raises.
    """
    if written is None:
        return _revealed(payload, (), decrypt)
    places = {Envelope.read(value, path): path for path, value in marked(written)}

    def decrypt_as_written(envelope: Envelope, path: Path) -> Any:
        if envelope not in places:
            raise DamagedEvent(f"personal field {shown_path(path)} is none that was written with this event")
        return decrypt(envelope, places[envelope])

    return _revealed(payload, (), decrypt_as_written)


def _replaced(value: Any, rest: Path, path: Path, encrypt: Callable[[Any, Path], Envelope]) -> tuple[Any, Envelope]:
    """`value` with what stands at `rest` in an envelope. Only an object's key can hold one: what is left out of a list when
    it is forgotten would move the others."""
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
        f"payload has no field {shown_path(path)} to protect; name an object's key, or keys joined by dots, that is there"
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
