"""Views for the tests of sinks."""

from __future__ import annotations

from projectors import Sink, View
from projectors.engine.sink import Change
from replicator.domain.canonical import encode_json
from replicator.domain.vector import VersionVector


def view(
    sequence: int, key: str = "plane/N1", projection: str = "plane", said: str = "", version: int = 1, row: str = ""
) -> View:
    """A view whose value tells which vector it belongs to."""
    text = encode_json({"sequence": sequence, "said": said})
    return View(projection, version, key, VersionVector({"us-east-1": sequence, "eu-west-1": 7}), text, text, row)


def create(new: View) -> Change:
    return Change(None, new)


def move(old: View, new: View) -> Change:
    return Change(old.vector, new)


def stored(sink: Sink, of: View) -> View | None:
    return sink.load([of.id]).get(of.id)
