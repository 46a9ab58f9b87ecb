"""CloudWatch's evaluation of alarms, as AWS documents it: periods, data points to alarm, missing data, composite alarms.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/: alarm-evaluation.html, alarms-and-missing-data.html. The length of
the evaluation range is not documented beyond an example, which has two periods more than are evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK, ALARM, NO_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
RANGE = 2
"""Periods of the evaluation range beyond those that are evaluated."""

_FILL = re.compile(r"FILL\((\w+), (\d+)\)")
_QUERY = re.compile(r"SELECT MAX\((\w+)\) FROM SCHEMA\(\"([^\"]+)\".*\) WHERE (\w+) = '([^']+)'")
_PART = re.compile(r'ALARM\("([^"]+)"\)')


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its namespace, name and dimensions."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, namespace: str, name: str, **dimensions: str) -> Metric:
        return cls(namespace, name, frozenset(dimensions.items()))


History = Mapping[Metric, Mapping[int, Sequence[float]]]
"""Values of each metric by period, counted from 0. A period without values is missing."""


def state(points: Sequence[bool | None], evaluate: int, breach: int, missing: str, before: str) -> str:
    """Return the state of an alarm from the points of its evaluation range, oldest first: whether each is breaching, or None
    where it is missing. `before` is the state so far."""
    real = [point for point in points if point is not None]
    if len(real) >= evaluate:
        return ALARM if sum(real[-evaluate:]) >= breach else OK
    filled = evaluate - len(real)
    if missing in ("breaching", "notBreaching"):
        return ALARM if sum(real) + (filled if missing == "breaching" else 0) >= breach else OK
    if not real:
        return before if missing == "ignore" else NO_DATA
    if sum(real) >= breach:
        return ALARM
    if not all(real):
        return OK
    if missing == "ignore":
        return before
    oldest = next(age for age in range(len(points), 0, -1) if points[-age])  # 1 is the newest
    return ALARM if oldest >= breach else NO_DATA


@dataclass(frozen=True, slots=True)
class Alarm:
    """A metric alarm of a plan."""

    name: str
    comparison: str
    threshold: float
    evaluate: int
    breach: int
    missing: str
    statistic: str
    metrics: Mapping[str, Metric]
    expression: str | None
    actions: frozenset[str]

    @classmethod
    def of(cls, after: Mapping[str, Any]) -> Alarm:
        """Read an alarm from Terraform's planned values."""
        metrics: dict[str, Metric] = {}
        expression, statistic = None, after["statistic"]
        if after["metric_name"]:
            metrics["one"] = Metric.of(after["namespace"], after["metric_name"], **(after["dimensions"] or {}))
        for query in after["metric_query"]:
            if query["return_data"]:
                expression = query["expression"]
            for metric in query["metric"]:
                metrics[query["id"]] = Metric.of(metric["namespace"], metric["metric_name"], **metric["dimensions"])
                statistic = metric["stat"]
        if expression is not None and (found := _QUERY.match(expression)):
            metrics = {"one": Metric.of(found[2], found[1], **{found[3]: found[4]})}
            expression, statistic = None, "Maximum"
        return cls(
            after["alarm_name"], after["comparison_operator"], after["threshold"], after["evaluation_periods"],
            after["datapoints_to_alarm"], after["treat_missing_data"], statistic, metrics, expression,
            frozenset(after["alarm_actions"] or ()),
        )  # fmt: skip

    def value(self, history: History, period: int) -> float | None:
        """Return the data point of one period, or None where it is missing."""
        found = {key: self._statistic(history.get(metric, {}).get(period, ())) for key, metric in self.metrics.items()}
        if self.expression is None:
            return found["one"]
        terms = _FILL.findall(self.expression)
        assert " + ".join(f"FILL({name}, {rest})" for name, rest in terms) == self.expression, "only sums of FILL are known"
        values = ((found[name], float(rest)) for name, rest in terms)
        return sum(rest if value is None else value for value, rest in values)

    def _statistic(self, values: Sequence[float]) -> float | None:
        if not values:
            return None
        return sum(values) if self.statistic == "Sum" else max(values)

    def breaches(self, value: float) -> bool:
        return value > self.threshold if self.comparison == "GreaterThanThreshold" else value < self.threshold

    def state(self, history: History, period: int, before: str) -> str:
        """Return the state at the end of a period."""
        periods = range(max(0, period - self.evaluate - RANGE + 1), period + 1)
        values = [self.value(history, each) for each in periods]
        # Of DynamoDB's own metrics missing data are ignored, whatever the alarm says.
        dynamodb = self.expression is None and any(metric.namespace == "AWS/DynamoDB" for metric in self.metrics.values())
        points = [None if value is None else self.breaches(value) for value in values]
        return state(points, self.evaluate, self.breach, "ignore" if dynamodb else self.missing, before)


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite alarm of a plan, whose rule is any of its parts."""

    name: str
    parts: tuple[str, ...]
    actions: frozenset[str]

    @classmethod
    def of(cls, after: Mapping[str, Any]) -> Composite:
        parts = tuple(_PART.findall(after["alarm_rule"]))
        assert after["alarm_rule"] == " OR ".join(f'ALARM("{part}")' for part in parts), "only any of its parts is known"
        return cls(after["alarm_name"], parts, frozenset(after["alarm_actions"] or ()))


@dataclass(slots=True)
class Evaluation:
    """States of all alarms of a region from period to period, and the messages that they send: (period, alarm, topic)."""

    alarms: Sequence[Alarm]
    composites: Sequence[Composite]
    states: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[int, str, str]] = field(default_factory=list)

    def run(self, history: History, periods: range) -> None:
        """Evaluate these periods, one after another."""
        for period in periods:
            now = {alarm.name: alarm.state(history, period, self.states.get(alarm.name, NO_DATA)) for alarm in self.alarms}
            for composite in self.composites:
                now[composite.name] = ALARM if any(now[part] == ALARM for part in composite.parts) else OK
            for each in (*self.alarms, *self.composites):
                if now[each.name] == ALARM != self.states.get(each.name):
                    self.sent += [(period, each.name, topic) for topic in sorted(each.actions)]
            self.states = now

    def alarming(self) -> set[str]:
        return {name for name, state in self.states.items() if state == ALARM}
