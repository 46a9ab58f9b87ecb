"""Metrics in CloudWatch's embedded metric format: lines on standard output that CloudWatch turns into metrics.

Terraform's alarms and dashboard use these names and dimensions: terraform/modules/region/alarms.tf.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping

import structlog

NAMESPACE = "Meridian"
UNITS = {
    "ReplicationLag": "Milliseconds",
    "ProjectionLag": "Milliseconds",
    "PublishLag": "Milliseconds",
    "BacklogAge": "Seconds",
}
"""Units of the metrics that are not counts."""

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


def log_metrics(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Log one set of metrics at level debug: for workers, whose output is not parsed for the format."""
    structlog.get_logger().debug("metrics", **dimensions, **values)
