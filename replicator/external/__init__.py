"""External events: a stable schema for outside consumers, made from the internal events by a declared transformation."""

from replicator.external.consumer import ExternalConsumer, from_lambda
from replicator.external.external_event import ExternalEvent
from replicator.external.marks import ControlMarks, Deduplicator, Marks
from replicator.external.rules import publish
from replicator.external.transformation import External, TransformationFailed, load_external

__all__ = [
    "ControlMarks",
    "Deduplicator",
    "External",
    "ExternalConsumer",
    "ExternalEvent",
    "Marks",
    "TransformationFailed",
    "from_lambda",
    "load_external",
    "publish",
]
