"""The commands of whoever operates a system, on two real emulator regions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replicator.aws import clients
from replicator.connect import connect_store
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.eventstore.store import EventStore
from replicator.runtime.settings import Settings
from tests.commands import Answer, command
from tests.regions import environment_of
from tests.replicator.noticing import notice

pytestmark = pytest.mark.emulator
EAST, WEST = "us-east-1", "eu-west-1"
Run = Callable[..., Answer]


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Run:
    environment = environment_of(settings, MERIDIAN_STEERING=f"file:{tmp_path}/steering.json")
    return lambda *words, **more: command("replicator", *words, **{**environment, **more})


@pytest.fixture
def stores(settings: Settings) -> dict[str, EventStore]:
    """Both regions' stores, with two streams that each has written to. Nothing is copied."""
    found = {region: connect_store(settings.at(region)) for region in (EAST, WEST)}
    for region, store in found.items():
        for name in ("homer", "marge"):
            store.append(f"user/{name}", NewEvent("joined", {"in": region}), NewEvent("renamed", {"to": uuid.uuid4().hex}))
    return found


def test_what_is_missing_is_found_repaired_and_found_equal(run: Run, stores: dict[str, EventStore]) -> None:
    found = run("verify", "--wait", "0", "--json")
    assert found.returncode == 1
    assert "`replicator repair` copies what is missing" in found.stderr
    report = json.loads(found.stdout)
    assert {(f["kind"], f["region"], f["holder"], f["first"], f["last"]) for f in report["findings"]} == {
        ("missing", WEST, EAST, 1, 2),
        ("missing", EAST, WEST, 1, 2),
    }
    repaired = run("repair")
    assert (repaired.returncode, repaired.stdout.splitlines()[-1]) == (0, "8 events copied; 0 findings left")
    equal = run("verify", "--json")
    assert equal.returncode == 0
    report = json.loads(equal.stdout)
    assert (report["equal"], report["lanes"], report["events"], report["differing_lanes"]) == (True, 4, 8, 0)
    assert 0 < report["read_units"] < 100
    deep = run("verify", "--deep")
    assert deep.returncode == 0
    assert "equal. 8 events in 4 lanes" in deep.stdout


def test_one_altered_byte_one_missing_and_one_extra_event_are_found(
    run: Run, stores: dict[str, EventStore], settings: Settings
) -> None:
    run("repair")
    assert run("verify").returncode == 0
    client: Any = clients.dynamodb(settings, WEST)
    table = settings.events_table

    def key(region: str, name: str, sequence: int) -> dict[str, Any]:
        return {"pk": {"S": LaneId(region, StreamId("user", name)).key}, "sk": {"S": sequence_key(sequence)}}

    item = client.get_item(TableName=table, Key=key(EAST, "homer", 1))["Item"]
    client.put_item(TableName=table, Item={**item, "payload": {"S": item["payload"]["S"].replace("us", "US")}})
    client.delete_item(TableName=table, Key=key(WEST, "homer", 1))
    stores[WEST].append("user/marge", NewEvent("extra", {}))
    notice(settings.at(WEST), *(LaneId(region, StreamId("user", "homer")) for region in (EAST, WEST)))
    report = json.loads(run("verify", "--wait", "0", "--json").stdout)
    found = {(f["kind"], f["region"], f["lane"]): (f["first"], f["detail"]) for f in report["findings"]}
    assert found.keys() == {
        ("damaged", WEST, f"{EAST}#user#homer"),
        ("damaged", WEST, f"{WEST}#user#homer"),
        ("missing", EAST, f"{WEST}#user#marge"),
    }
    assert "does not match its digest" in found[("damaged", WEST, f"{EAST}#user#homer")][1]
    assert "event 1 is missing" in found[("damaged", WEST, f"{WEST}#user#homer")][1]
    assert found[("missing", EAST, f"{WEST}#user#marge")][0] == 3
    repaired = run("repair")
    assert repaired.returncode == 1
    assert "1 findings left" in repaired.stdout, "what is damaged stays as it is"
    status = run("status", "--json")
    assert status.returncode in (0, 1)


def test_a_failover_and_the_way_back(run: Run, stores: dict[str, EventStore], tmp_path: Path) -> None:
    plan = run("failover", EAST, WEST, "--plan")
    assert plan.returncode == 0
    assert plan.stderr.splitlines()[0] == (
        f"1. fence: {EAST} takes no more appends; if it does not answer, the others record it"
    )
    unasked = run("failover", EAST, WEST)
    assert unasked.returncode == 2
    assert "give --yes" in unasked.stderr
    done = run("failover", EAST, WEST, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["rpo"] == {f"{EAST}#user#{name}": [1, 2] for name in ("homer", "marge")}
    assert json.loads((tmp_path / "steering.json").read_text()) == {"away": {EAST: WEST}}
    refused = run("append", "user/homer", "renamed", MERIDIAN_REGION=EAST, MERIDIAN_PEERS=WEST)
    assert refused.returncode == 1
    assert f"{EAST} is fenced in epoch 2" in refused.stderr
    status = json.loads(run("status", "--json").stdout)
    assert {region["region"]: region["role"] for region in status["regions"]} == {EAST: "fenced", WEST: "active"}
    back = run("failback", EAST, "--yes")
    assert back.returncode == 0, back.stderr
    assert "RPO 4 events in 2 lanes" in back.stdout
    assert run("append", "user/homer", "renamed").returncode == 0
    assert json.loads((tmp_path / "steering.json").read_text()) == {"away": {}}
    listed = [json.loads(line) for line in run("runs").stdout.splitlines()]
    assert [(each["kind"], each["end"]) for each in listed] == [("failover", "done"), ("failback", "done")]
    assert run("runs", "--abandon", "no-such-run").returncode == 2


def test_a_switchover_loses_nothing(run: Run, stores: dict[str, EventStore], settings: Settings) -> None:
    done = run("switchover", EAST, WEST, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "RPO 0 events"
    with pytest.raises(RegionUnavailable):
        connect_store(settings).append("user/homer", NewEvent("x", {}))


def test_a_page_of_the_status_is_written_and_names_every_region(
    run: Run, stores: dict[str, EventStore], tmp_path: Path
) -> None:
    page = tmp_path / "status.html"
    written = run("status", "--html", str(page))
    assert written.returncode in (0, 1)
    text = page.read_text()
    assert EAST in text
    assert WEST in text
    assert run("status", "--html", str(tmp_path / "none" / "x.html")).returncode == 2


def test_no_fork_is_an_empty_list(run: Run, stores: dict[str, EventStore]) -> None:
    answer = run("forks")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_a_single_region_has_nothing_to_be_compared_with(run: Run, settings: Settings) -> None:
    answer = run("verify", MERIDIAN_PEERS="")
    assert answer.returncode == 2
    assert "name the other regions with --peers" in answer.stderr
    assert run("failover", EAST, WEST, "--plan", MERIDIAN_PEERS="").returncode == 2
