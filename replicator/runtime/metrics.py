"""Metrics in CloudWatch's embedded metric format: lines on standard output that CloudWatch turns into metrics.

Terraform's alarms and dashboard use these names and dimensions: terraform/modules/region/alarms.tf.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from threading import Lock

import structlog

NAMESPACE = "Meridian"
UNITS = {
    "ReplicationLag": "Milliseconds",
    "ProjectionLag": "Milliseconds",
    "PublishLag": "Milliseconds",
    "BacklogAge": "Seconds",
    "HeartbeatAge": "Seconds",
}
"""Units of the metrics that are not counts."""

_ADDED = {
    "EventsCopied", "EventsKnown", "EventsDeferred", "EventsProjected", "EventsPublished", "ConflictsMerged",
    "ConflictsDiscarded",
}  # fmt: skip
"""Counts of everyday work."""
_PERIOD_SECONDS = 60.0
"""Period of the alarms. A lag or an age that was held for longer is not one of now."""

Emit = Callable[[Mapping[str, str], Mapping[str, float]], None]
"""Callable that takes dimensions, and values by metric name."""


def emit(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Print one set of metrics under exactly these dimensions."""
    line = embedded(dimensions, values)
    sys.stdout.write(f"{line}\n")  # one write: threads could put two on a line, and CloudWatch would read neither
    sys.stdout.flush()


def embedded(dimensions: Mapping[str, str], values: Mapping[str, float]) -> str:
    """Return one set of metrics in the embedded metric format: a line of JSON."""
    from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # half of a cold start: events are copied first

    metrics = EphemeralMetrics(namespace=NAMESPACE, service="")  # not from the environment: it would be one more dimension
    for name, value in values.items():
        metrics.add_metric(name, MetricUnit(UNITS.get(name, "Count")), value)
    for name, text in dimensions.items():
        metrics.add_dimension(name, text)
    return json.dumps(metrics.serialize_metric_set(), separators=(",", ":"))


class Held:
    """Emits a function's metrics at most once in `seconds` for the same dimensions: counts are added up, and of all else the
    largest value counts. What is refused or failed goes out at once, and so does what is in quarantine. A sandbox that is
    not used again keeps less than `seconds` of its counts to itself. One that is used again after a minute emits the counts,
    and no lag or age of then: it would stand at the time of its emission.

    A busy function would print several lines for each of its invocations, dozens of which take place in a second.
    """

    def __init__(self, emit: Emit, seconds: float = 1.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._emit = emit
        self._seconds = seconds
        self._monotonic = monotonic
        self._held: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
        self._told: dict[frozenset[tuple[str, str]], float] = {}
        self._since: dict[frozenset[tuple[str, str]], float] = {}
        self._lock = Lock()

    def __call__(self, dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
        key, now = frozenset(dimensions.items()), self._monotonic()
        with self._lock:
            held = self._held.setdefault(key, {})
            if now - self._since.setdefault(key, now) >= _PERIOD_SECONDS:
                for name in held.keys() & UNITS.keys():
                    del held[name]
            for name, value in values.items():
                before = held.get(name, 0.0)
                held[name] = before + value if name in _ADDED else max(before, value) if name in UNITS else value
            rest = values.keys() - _ADDED - UNITS.keys()
            urgent = "Quarantined" in rest or any(values[name] for name in rest)
            if not urgent:  # what comes behind an urgent one is not held for it
                if now - self._told.get(key, -math.inf) < self._seconds:
                    return
                self._told[key] = now
            del self._held[key], self._since[key]
        self._emit(dimensions, held)


def to_cloudwatch() -> Emit:
    """Return what a function reports its metrics to."""
    return Held(emit)


def log_metrics(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Log one set of metrics at level debug: for workers, whose output is not parsed for the format."""
    structlog.get_logger().debug("metrics", **dimensions, **values)
