"""What CloudWatch does with the embedded metric format and the emulator does not: makes metrics of log lines."""

from __future__ import annotations

import json
from typing import Any


def publish_metrics(logs: Any, cloudwatch: Any, groups: list[str]) -> list[dict[str, Any]]:
    """Put every embedded metric in these log groups as a metric, with the time of now. Returns what was put."""
    put: list[dict[str, Any]] = []
    for group in groups:
        for line in lines(logs, group):
            for namespace, data in embedded(line):
                cloudwatch.put_metric_data(Namespace=namespace, MetricData=[data])
                put.append(data)
    return put


def lines(logs: Any, group: str) -> list[str]:
    """Every line of a log group."""
    found: list[str] = []
    for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group):
        found += [event["message"] for event in page["events"]]
    return found


def embedded(line: str) -> list[tuple[str, dict[str, Any]]]:
    """(namespace, MetricDatum) of each metric in a line, read by the format's specification; none in other lines."""
    if '"_aws"' not in line:
        return []
    blob = json.loads(line)
    found = []
    for directive in blob["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = [{"Name": name, "Value": blob[name]} for name in names]
            for metric in directive["Metrics"]:
                values = blob[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    datum = {"MetricName": metric["Name"], "Dimensions": dimensions, "Unit": metric["Unit"], "Value": value}
                    found.append((directive["Namespace"], datum))
    return found
