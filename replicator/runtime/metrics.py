"""Metrics in CloudWatch's embedded metric format: lines on standard output that CloudWatch makes metrics of.

Terraform's alarms and dashboard go by these names and dimensions: terraform/modules/region/alarms.tf.
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
"""Of the metrics that are not counts."""

Emit = Callable[[Mapping[str, str], Mapping[str, float]], None]
"""Takes dimensions and values by metric name."""


def emit(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Print one set of metrics under exactly these dimensions."""
    from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # half of a cold start: events are copied first

    metrics = EphemeralMetrics(namespace=NAMESPACE, service="")  # not from the environment: it would be one more dimension
    for name, value in values.items():
        metrics.add_metric(name, MetricUnit(UNITS.get(name, "Count")), value)
    for name, text in dimensions.items():
        metrics.add_dimension(name, text)
    line = json.dumps(metrics.serialize_metric_set(), separators=(",", ":"))
    sys.stdout.write(f"{line}\n")  # in one piece: threads that print would put two on a line, and CloudWatch reads neither
    sys.stdout.flush()


def log_metrics(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Log one set of metrics: workers, whose output nobody reads for the format, have it at level debug."""
    structlog.get_logger().debug("metrics", **dimensions, **values)
