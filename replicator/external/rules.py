"""Publishing rules: the external form of one internal event type. Only what a rule names is ever published."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from replicator.domain.errors import InvalidConfig, InvalidName
from replicator.domain.event import Event
from replicator.domain.names import MAX_EVENT_TYPE_BYTES, MAX_TYPE_BYTES, check_segment
from replicator.domain.protected import MARKER

Enrichment = Callable[[Event], Any]
"""Pure function of one internal event (its payload, metadata and envelope) to a JSON value."""
_FIELD = re.compile(r"[^\x00-\x1f$]{1,128}")


@dataclass(frozen=True, slots=True)
class Rule:
    """Publishing rule. `stream_type` and `event_type` name the internal events, `versions` the supported schema versions.
    `fields` are pairs of an external and an internal name, `optional` holds internal names that may be missing.

    Raises InvalidConfig at construction: an invalid rule cannot be created.
    """

    stream_type: str
    event_type: str
    to: str
    version: int
    versions: frozenset[int]
    fields: tuple[tuple[str, str], ...]
    optional: frozenset[str]
    enrich: Mapping[str, Enrichment]
    when: Callable[[Event], bool] | None

    def __post_init__(self) -> None:
        where = f"rule for {self.stream_type}/{self.event_type}"
        try:
            check_segment(f"{where}: stream type", self.stream_type, MAX_TYPE_BYTES)
            check_segment(f"{where}: event type", self.event_type, MAX_EVENT_TYPE_BYTES)
            check_segment(f"{where}: external type", self.to, MAX_EVENT_TYPE_BYTES)
        except InvalidName as error:
            raise InvalidConfig(str(error)) from None
        for number in (self.version, *self.versions):
            if type(number) is not int or not 1 <= number <= 65_535:
                raise InvalidConfig(f"{where}: schema version {number!r} is not a whole number from 1 to 65535")
        if not self.versions:
            raise InvalidConfig(f"{where} accepts no internal schema version; give versions=(1,)")
        _check_fields(where, self.fields, self.enrich)
        if unknown := sorted(self.optional - {name for _, name in self.fields}):
            raise InvalidConfig(f"{where}: optional {unknown[0]!r} is neither kept nor renamed; correct the name")
        for name, function in (*self.enrich.items(), ("when", self.when)):
            if not callable(function) and not (name == "when" and function is None):
                raise InvalidConfig(f"{where}: {name!r} is {function!r}; give a function of the event")


def publish(
    internal: str,
    *,
    to: str,
    version: int = 1,
    versions: Collection[int] = (1,),
    keep: Collection[str] = (),
    rename: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
    enrich: Mapping[str, Enrichment] | None = None,
    when: Callable[[Event], bool] | None = None,
) -> Any:
    """Declare that the internal events `stream type/event type` are published as external type `to` in schema `version`.

    `keep` names payload fields that are published unchanged, `rename` maps internal names to external ones, `enrich` maps an
    external name to a pure function of the event. Everything else stays inside. A missing field stops the lane
    unless `optional` names it; so does an internal schema version that is not among `versions`. `when` may leave events
    out. Raises InvalidConfig.
    """
    stream_type, slash, event_type = internal.partition("/") if isinstance(internal, str) else ("", "", "")
    if not slash:
        raise InvalidConfig(
            f"rule for {internal!r} names no stream type; write 'stream type/event type', for example 'user/renamed'"
        )
    for text, value in (("keep", keep), ("optional", optional)):
        if isinstance(value, str):
            raise InvalidConfig(f"rule for {internal}: {text} is the text {value!r}; give a list of names, [{value!r}]")
    fields = (*((name, name) for name in keep), *((out, name) for name, out in (rename or {}).items()))
    return Rule(
        stream_type, event_type, to, version, frozenset(versions), fields, frozenset(optional), dict(enrich or {}), when
    )


def _check_fields(where: str, fields: Collection[tuple[str, str]], enrich: Collection[str]) -> None:
    """Raise InvalidConfig for an invalid name, or an external name that is declared twice."""
    seen: set[str] = set()
    for out in (*(out for out, _ in fields), *enrich):
        if not isinstance(out, str) or not _FIELD.fullmatch(out):
            raise InvalidConfig(
                f"{where}: {out!r} is not a field name; give 1 to 128 characters without '$' or control characters"
            )
        if out in seen:
            raise InvalidConfig(f"{where}: the external field {out!r} is declared twice; name each once")
        seen.add(out)
    for _, name in fields:
        if not isinstance(name, str) or not name:
            raise InvalidConfig(f"{where}: {name!r} is not a field of a payload; give its name")


HIDDEN = object()


def hidden(value: Any) -> Any:
    """Return `value` without the personal fields in it, at any depth; HIDDEN when it is one itself."""
    if isinstance(value, Mapping):
        if MARKER in value:
            return HIDDEN
        inner = ((name, hidden(part)) for name, part in value.items())
        return {name: part for name, part in inner if part is not HIDDEN}
    if isinstance(value, list | tuple):
        return [part for part in map(hidden, value) if part is not HIDDEN]
    return value
