"""Metrics by the embedded metric format's specification, read by a reader of our own."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.runtime.metrics import UNITS, emit
from tests.embedded_metrics import embedded


def test_a_metric_is_a_line_with_exactly_these_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"region": "us-east-1", "link": "us-east-1>eu-west-1"}, {"ReplicationLag": 812, "EventsCopied": 3})
    (line,) = capsys.readouterr().out.splitlines()
    blob = json.loads(line)
    assert abs(blob["_aws"]["Timestamp"] - time.time() * 1000) < 60_000
    (directive,) = blob["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Meridian"
    assert [sorted(names) for names in directive["Dimensions"]] == [["link", "region"]]
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
        "ReplicationLag": "Milliseconds",
        "EventsCopied": "Count",
    }
    read = {data["MetricName"]: (data["Value"], data["Dimensions"]) for _, data in embedded(line)}
    where = [{"Name": "region", "Value": "us-east-1"}, {"Name": "link", "Value": "us-east-1>eu-west-1"}]
    assert read == {"ReplicationLag": (812, where), "EventsCopied": (3, where)}


@pytest.mark.parametrize("name", [*UNITS, "Quarantined", "EventsChanged"])
def test_every_metric_has_its_unit(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    emit({"region": "us-east-1"}, {name: 0})
    ((namespace, data),) = embedded(capsys.readouterr().out)
    assert (namespace, data["MetricName"], data["Value"]) == ("Meridian", name, 0)
    assert data["Unit"] == {"BacklogAge": "Seconds"}.get(name, "Milliseconds" if name.endswith("Lag") else "Count")


def test_threads_never_share_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: emit({"region": "us-east-1", "link": f"l{n % 8}"}, {"EventsCopied": n}), range(400)))
    lines = capfd.readouterr().out.splitlines()
    assert sorted(json.loads(line)["EventsCopied"][0] for line in lines) == list(range(400))


def test_the_environment_of_powertools_adds_no_dimension(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Elsewhere")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "replicator")
    emit({"region": "us-east-1"}, {"Quarantined": 1})
    ((namespace, data),) = embedded(capsys.readouterr().out)
    assert (namespace, [each["Name"] for each in data["Dimensions"]]) == ("Meridian", ["region"])
