"""Metrics by the embedded metric format's specification, read by a reader of our own."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.runtime.metrics import UNITS, Held, emit
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
    assert data["Unit"] == "Seconds" if name.endswith("Age") else "Milliseconds" if name.endswith("Lag") else "Count"


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


def test_a_busy_function_tells_once_a_second_what_it_has_done() -> None:
    now, told = [0.0], list[tuple[str, dict[str, float]]]()
    held = Held(lambda where, values: told.append((where["link"], dict(values))), 1.0, lambda: now[0])
    for tenth in range(25):
        now[0] = tenth / 10
        held({"link": "a"}, {"EventsCopied": 3, "ReplicationLag": 100 + tenth % 7, "EventsDeferred": 0})
    held({"link": "b"}, {"EventsCopied": 1})
    assert told == [
        ("a", {"EventsCopied": 3, "ReplicationLag": 100, "EventsDeferred": 0}),
        ("a", {"EventsCopied": 30, "ReplicationLag": 106, "EventsDeferred": 0}),
        ("a", {"EventsCopied": 30, "ReplicationLag": 106, "EventsDeferred": 0}),
        ("b", {"EventsCopied": 1}),
    ]
    assert sum(values["EventsCopied"] for _, values in told[:3]) == 3 * 21, "what is left goes out with the next"


@pytest.mark.parametrize("name", ["EventsRefused", "EventsChanged", "ProjectionFailures", "Quarantined"])
def test_what_an_alarm_waits_for_is_not_held(name: str) -> None:
    told: list[dict[str, float]] = []
    held = Held(lambda _, values: told.append(dict(values)), 1.0, lambda: 0.0)
    held({}, {"EventsProjected": 1})
    held({}, {"EventsProjected": 2, "ProjectionFailures": 0})
    assert told == [{"EventsProjected": 1}]
    held({}, {name: 1})
    assert told[1:] == [{"EventsProjected": 2, "ProjectionFailures": 0} | {name: 1}]
    held({}, {"Quarantined": 0})
    assert told[2:] == [{"Quarantined": 0}], "the alarm stays until it is told 0"


def test_an_invocation_now_and_then_tells_all_that_it_did() -> None:
    """The first thing that a projector tells is what is in quarantine."""
    now, told = [0.0], list[dict[str, float]]()
    held = Held(lambda _, values: told.append(dict(values)), 1.0, lambda: now[0])
    for hour in range(3):
        now[0] = hour * 3600.0
        held({}, {"Quarantined": 0})
        held({}, {"EventsProjected": 1, "ProjectionLag": 7, "ProjectionFailures": 0})
    assert told == [{"Quarantined": 0}, {"EventsProjected": 1, "ProjectionLag": 7, "ProjectionFailures": 0}] * 3


def test_a_lag_of_half_an_hour_ago_is_not_emitted_as_one_of_now() -> None:
    now, told = [0.0], list[dict[str, float]]()
    held = Held(lambda _, values: told.append(dict(values)), 1.0, lambda: now[0])
    held({}, {"EventsCopied": 1, "ReplicationLag": 90})
    now[0] = 0.5
    held({}, {"EventsCopied": 5, "ReplicationLag": 900_000, "BacklogAge": 900})
    now[0] = 1800.0
    held({}, {"EventsCopied": 1, "ReplicationLag": 80})
    assert told[1:] == [{"EventsCopied": 6, "ReplicationLag": 80}]
