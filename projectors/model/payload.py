"""Copies of an event's payload: one for each handler, as many fields are fed by one event."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Payload = dict[str, Any]
_CONTAINERS = (dict, list)


def own(payload: Payload) -> Payload:
    """Return a copy for one handler: no other handler sees its changes."""
    copied: Payload = _copied(payload) if payload.__class__ is dict else deepcopy(payload)  # with personal fields
    return copied


def _copied(value: Any) -> Any:
    if value.__class__ is dict:
        return {name: _copied(inner) if inner.__class__ in _CONTAINERS else inner for name, inner in value.items()}
    return [_copied(inner) if inner.__class__ in _CONTAINERS else inner for inner in value]


def is_flat(text: str) -> bool:
    """Return whether a payload, judged by its text, certainly holds no object and no list. Cheap."""
    return "[" not in text and text.find("{", 1) < 0
