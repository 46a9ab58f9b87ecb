"""The commands of whoever runs Meridian, as they are typed, on an emulator and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest

from chaos.workload.flights import Aircraft, Departures
from chaos.world.servers import postgresql
from chaos.world.world import free_ports
from projectors import Engine, Projection, register
from projectors.model.view import ViewKey
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.postgresql import PostgresSink
from replicator import NewEvent, Settings
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.connect import connect_store
from replicator.control.quarantine import Quarantine
from replicator.domain.event import Event
from tests.commands import Answer, command
from tests.processes import started, wait_until
from tests.projectors.fleet import Aircraft2
from tests.regions import CLEAN, environment_of

pytestmark = pytest.mark.emulator

CLASSES = ("chaos.workload.flights:Aircraft", "tests.projectors.fleet:Aircraft2", "chaos.workload.flights:Departures")


def projectors(settings: Settings, *arguments: str, **more: str) -> Answer:
    environment = environment_of(settings, MERIDIAN_READ_TIMEOUT="30", MERIDIAN_PROJECTIONS=",".join(CLASSES))
    return command("projectors", *arguments, **{**environment, **more})


def ok(settings: Settings, *arguments: str, **more: str) -> str:
    result = projectors(settings, *arguments, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def leg(kind: str, airport: str, n: int) -> NewEvent:
    return NewEvent(kind, {"flight": f"UA{n}", "row": n, "airport": airport, "time": f"2013-01-01T0{n}:15", "leg": 0})


def fly(settings: Settings) -> list[Event]:
    """Three aircraft; one of them is reported in two regions at once, and both regions have everything."""
    east, west = connect_store(settings), connect_store(settings.at("eu-west-1"))
    events: list[Event] = []
    for n, tail in enumerate(("N1", "N2", "N3"), 1):
        events += east.append(f"aircraft/{tail}", leg("departed", "JFK", n), leg("arrived", "BOS", n))
    events += west.append("aircraft/N1", leg("departed", "EWR", 7))
    for store in (east, west):
        store._lanes._storage.insert_each(events)
    return events


@pytest.fixture
def flown(emptied_settings: Settings) -> list[Event]:
    events = fly(emptied_settings)
    for region in (emptied_settings.region, *emptied_settings.peers):
        here = emptied_settings.at(region)
        Engine([Aircraft, Departures], connect_store(here), DynamoSink(here)).apply(events)
    return events


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as server:
        yield server.url


def test_a_version_is_built_switched_to_and_dropped(emptied_settings: Settings, flown: list[Event]) -> None:
    assert "version 1" not in ok(emptied_settings, "versions")
    early = projectors(emptied_settings, "switch", "aircraft", "2")
    assert (early.returncode, "not begun" in early.stderr) == (1, True)
    assert "aircraft@2: 3 streams, 7 events" in ok(emptied_settings, "rebuild", "aircraft")
    before = json.loads(ok(emptied_settings, "show", "aircraft", "aircraft/N1"))
    assert (before["version"], "movements" in before["value"]) == (1, False)
    assert "see version 2 now; previously: the lowest version loaded" in ok(emptied_settings, "switch", "aircraft", "2")
    after = json.loads(ok(emptied_settings, "show", "aircraft", "aircraft/N1"))
    assert (after["version"], after["value"]["movements"]) == (2, 3)
    assert [word in ok(emptied_settings, "versions") for word in ("aircraft", "see it")] == [True, True]
    busy = projectors(emptied_settings, "drop", "aircraft", "2")
    assert (busy.returncode, "readers see version 2" in busy.stderr) == (1, True)
    assert "3 views of aircraft@1 removed" in ok(emptied_settings, "drop", "aircraft", "1")
    assert list(DynamoSink(emptied_settings).views("aircraft", 1)) == []
    assert len(list(DynamoSink(emptied_settings).views("aircraft", 2))) == 3


def test_what_is_built_anew_or_dropped_leaves_quarantine(emptied_settings: Settings, flown: list[Event]) -> None:
    link, bad = f"{emptied_settings.region}>views", "us-east-1#aircraft#N1#0000000000000001"
    kept = Quarantine(DynamoControl(emptied_settings), link)
    others = [f"departures {bad}", f"aircraft-2 {bad}", f"record {bad}"]

    def refused(*projections: str) -> list[str]:
        for each in projections:
            kept.add(f"{each} {bad}", "KeyError")
        return [key for key, _ in kept.records()]

    for other in others:
        kept.add(other, "KeyError")
    assert len(refused("aircraft", "aircraft@2")) == 5
    ok(emptied_settings, "rebuild", "aircraft", "--version", "1", "--again")
    assert refused() == sorted([*others, f"aircraft@2 {bad}"])
    (event,) = connect_store(emptied_settings).append("aircraft/N2", NewEvent("departed", {"flight": 7}))
    kept.add(f"aircraft@2 {event.id}", "KeyError")
    still = projectors(emptied_settings, "rebuild", "aircraft", "--version", "2")
    assert still.returncode == 1
    assert refused() == sorted([*others, f"aircraft@2 {event.id}"]), "what fails still stands"
    ok(emptied_settings, "drop", "aircraft", "2", "--force")
    assert refused() == sorted(others)


def listed(settings: Settings, *arguments: str, **more: str) -> list[list[str]]:
    """The rows of `versions`, without its heading."""
    lines = ok(settings, "versions", *arguments, **more).splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_versions_are_listed_that_nobody_ever_built(emptied_settings: Settings) -> None:
    never = ["never rebuilt", "", "", ""]
    assert listed(emptied_settings, MERIDIAN_PROJECTIONS="") == []
    assert listed(emptied_settings) == [
        ["aircraft", "1", "see it", *never],
        ["aircraft", "2", "", *never],
        ["departures", "1", "see it", *never],
    ]
    only_new = {"MERIDIAN_PROJECTIONS": CLASSES[1]}
    assert listed(emptied_settings, **only_new) == [["aircraft", "2", "see it", *never]]
    ok(emptied_settings, "switch", "aircraft", "2", **only_new)
    assert listed(emptied_settings, MERIDIAN_PROJECTIONS="") == [["aircraft", "2", "see it", *never]]
    ok(emptied_settings, "switch", "aircraft", "1", "--force")
    assert listed(emptied_settings, MERIDIAN_PROJECTIONS="") == [
        ["aircraft", "1", "see it", *never],
        ["aircraft", "2", "saw it before", *never],
    ]


def test_the_version_that_readers_see_is_the_lowest_loaded_where_nobody_ever_switched(
    emptied_settings: Settings, flown: list[Event]
) -> None:
    """As where a version was raised and its old class is gone."""
    only_new = {"MERIDIAN_PROJECTIONS": CLASSES[1]}
    Engine([Aircraft2], connect_store(emptied_settings), DynamoSink(emptied_settings)).apply(flown)
    assert "equal (3 views" in ok(emptied_settings, "verify", "aircraft", "--events", "--settle", "0", **only_new)


def test_a_name_that_nothing_is_kept_under_is_told_and_not_called_equal(
    emptied_settings: Settings, flown: list[Event]
) -> None:
    for line in (("verify", "aircrat", "--regions"), ("verify", "aircraft", "--version", "7", "--regions")):
        result = projectors(emptied_settings, *line, "--settle", "0")
        (told,) = result.stderr.splitlines()
        assert (result.returncode, result.stdout) == (2, "")
        assert f"{line[1]}@{7 if '7' in line else 1}" in told
        assert "projectors versions" in told
    for name, version in (("aircrat", "1"), ("aircraft", "7")):
        for force in ((), ("--force",)):
            result = projectors(emptied_settings, "drop", name, version, *force)
            (told,) = result.stderr.splitlines()
            assert (result.returncode, f"there is no {name}@{version}" in told) == (1, True), result.stderr
    assert listed(emptied_settings, MERIDIAN_PROJECTIONS="") == []


def test_what_readers_may_see_is_dropped_only_by_force(emptied_settings: Settings, flown: list[Event]) -> None:
    refused = projectors(emptied_settings, "drop", "departures", "1")
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    told = ok(emptied_settings, "drop", "departures", "1", "--force")
    assert "views of departures@1 removed" in told
    assert list(DynamoSink(emptied_settings).views("departures")) == []
    assert "there is no" in projectors(emptied_settings, "drop", "departures", "1", "--force").stderr


def test_a_peer_without_its_table_or_that_is_down_is_one_line(emptied_settings: Settings, flown: list[Event]) -> None:
    endpoints = ",".join(f"{region}={url}" for region, url in emptied_settings.endpoints.items())
    closed = f"{endpoints.partition('eu-west-1=')[0]}eu-west-1=http://127.0.0.1:{free_ports(1)[0]}"
    for more, named in (({"MERIDIAN_ENDPOINTS": closed}, "eu-west-1"), ({"MERIDIAN_PREFIX": "absent"}, "table absent-")):
        result = projectors(emptied_settings, "verify", "aircraft", "--regions", **more)
        (told,) = result.stderr.splitlines()
        assert result.returncode in (1, 2)
        assert told.startswith("error: ")
        assert named in told


def test_readers_by_sql_change_over_with_a_switch(emptied_settings: Settings, flown: list[Event], database: str) -> None:
    import psycopg

    prefixed = replace(emptied_settings, prefix="sql")
    place = PostgresSink(database, prefixed)
    place.create_tables()
    for projection in (Aircraft, Aircraft2):
        Engine([projection], connect_store(emptied_settings), place).apply(flown)
    query = "SELECT value ->> 'flights', value ->> 'movements' FROM sql_current WHERE projection = 'aircraft' AND key = %s"
    with psycopg.connect(database) as connection:
        assert connection.execute(query, ("aircraft/N1",)).fetchall() == [("2", None)]
        place.activate("aircraft", 2)
        connection.commit()
        assert connection.execute(query, ("aircraft/N1",)).fetchall() == [("2", "3")]
    place.close()
    ok(emptied_settings, "init", "--sink", database)
    ok(emptied_settings, "rebuild", "aircraft", "--sink", database)
    ok(emptied_settings, "switch", "aircraft", "2", "--sink", database)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT * FROM kept_active").fetchall() == [("aircraft", 2)]


def test_regions_sinks_and_events_are_compared_and_what_differs_is_named(
    emptied_settings: Settings, flown: list[Event], database: str
) -> None:
    assert "postgresql://" in ok(emptied_settings, "init", "--sink", database)
    ok(emptied_settings, "rebuild", "aircraft", "--version", "1", "--sink", database)
    places = ("--sink", "dynamodb", "--sink", database, "--regions", "--events")
    told = ok(emptied_settings, "verify", "aircraft", *places, "--settle", "0")
    assert told.count("equal (3 views") == 3
    assert "not-a-secret" not in told
    client: Any = clients.dynamodb(emptied_settings, "eu-west-1")
    key = {"pk": {"S": "aircraft@1#aircraft/N2"}, "sk": {"S": "-"}}
    client.update_item(
        TableName=emptied_settings.views_table, Key=key, UpdateExpression="SET digest = :wrong",
        ExpressionAttributeValues={":wrong": {"B": bytes(32)}},
    )  # fmt: skip
    result = projectors(emptied_settings, "verify", "aircraft", *places, "--settle", "0")
    assert result.returncode == 1
    assert result.stdout.count("equal (3 views") == 2
    assert "aircraft/N2: DAMAGED: same events, different bytes" in result.stdout
    client.delete_item(TableName=emptied_settings.views_table, Key=key)
    result = projectors(emptied_settings, "verify", "aircraft", "--regions", "--settle", "0")
    assert (result.returncode, "aircraft/N2: not the same events" in result.stdout, "absent" in result.stdout) == (
        1,
        True,
        True,
    )
    rows = ok(emptied_settings, "verify", "departures", "--regions")
    assert "equal" in rows
    assert "equal" in ok(emptied_settings, "verify", "departures", "--regions", "--thorough")
    alone = projectors(emptied_settings, "verify", "aircraft")
    assert (alone.returncode, "nothing to compare with" in alone.stderr) == (2, True)


def test_conflicts_are_listed_with_both_events(emptied_settings: Settings, flown: list[Event]) -> None:
    told = ok(emptied_settings, "conflicts", "aircraft/N1", "--name", "aircraft", MERIDIAN_PROJECTIONS=CLASSES[0])
    assert "4 events" not in told
    assert "3 events" in told
    lines = ok(emptied_settings, "conflicts", "aircraft/N1", "--json", MERIDIAN_PROJECTIONS=CLASSES[0]).splitlines()
    found = [json.loads(line) for line in lines]
    assert {(each["field"], each["rule"]) for each in found} == {("place", "LwwRegister"), ("last_flight", "LwwRegister")}
    west = flown[-1]
    assert all(west.id in (each["kept"]["id"], each["discarded"]["id"]) for each in found)
    assert all(each["kept"]["payload"]["flight"] for each in found)
    assert "0 conflicts" in ok(emptied_settings, "conflicts", "aircraft/N2", MERIDIAN_PROJECTIONS=CLASSES[0])
    both = ok(emptied_settings, "conflicts", "aircraft/N1", "--name", "aircraft", "--json").splitlines()
    assert [json.loads(line)["version"] for line in both] == [1] * len(found) + [2] * len(found)


def test_one_event_that_cannot_be_digested_hides_no_conflict(emptied_settings: Settings, flown: list[Event]) -> None:
    before = ok(emptied_settings, "conflicts", "aircraft/N1", MERIDIAN_PROJECTIONS=CLASSES[0])
    (bad,) = connect_store(emptied_settings).append("aircraft/N1", NewEvent("departed", {"flight": "not-a-secret"}))
    result = projectors(emptied_settings, "conflicts", "aircraft/N1", MERIDIAN_PROJECTIONS=CLASSES[0])
    assert result.returncode == 0
    assert result.stdout == before.replace("3 events", "4 events")
    assert "0 conflicts" not in before
    (told,) = result.stderr.splitlines()
    assert told.startswith(f"skipped: {bad.id}: projection aircraft, field ")
    assert "not-a-secret" not in result.stdout + result.stderr
    stopped = projectors(emptied_settings, "replay", "aircraft", "aircraft/N1", "--version", "1")
    assert (stopped.returncode, bad.id in stopped.stderr, "not-a-secret" in stopped.stderr) == (1, True, False)


def test_a_stream_is_replayed_to_find_the_event_that_changed_something(
    emptied_settings: Settings, flown: list[Event]
) -> None:
    every = ok(emptied_settings, "replay", "aircraft", "aircraft/N1", "--version", "1").splitlines()
    assert len(every) == 3
    place = ok(emptied_settings, "replay", "aircraft", "aircraft/N1", "--version", "1", "--field", "flights").splitlines()
    assert [json.loads(line.partition("→ ")[2]) for line in place] == [{"flights": 1}, {"flights": 2}]
    first = ok(emptied_settings, "replay", "aircraft", "aircraft/N1", "--version", "1", "--at", "us-east-1:1").splitlines()
    assert len(first) == 1
    assert "us-east-1#1 departed" in first[0]
    nothing = ok(emptied_settings, "replay", "aircraft", "aircraft/N1", "--at", "2013-01-01T00:00:00Z")
    assert nothing == ""
    for line, named in (
        (("replay", "aircraft", "aircraft/N1", "--field", "colour"), "no field colour"),
        (("replay", "departures", "aircraft/N1"), "keeps no view"),
        (("replay", "boats", "aircraft/N1"), "'boats'"),
        (("replay", "aircraft", "aircraft/N1", "--version", "9"), "'aircraft@9'"),
    ):
        result = projectors(emptied_settings, *line)
        assert (result.returncode, named in result.stderr) == (2, True), result.stderr


class Dial(Projection):
    """What it was set to, whatever that is."""

    name, stream_type = "dial", "dial"
    at = register(turned=lambda p: p["to"])


def test_a_replay_shows_every_change_that_json_sees(emptied_settings: Settings) -> None:
    values = [1, True, 1.0, 1, [1], [True], {"a": 0}, {"a": False}, None, 0, "0"]
    connect_store(emptied_settings).append("dial/1", *[NewEvent("turned", {"to": value}) for value in values])
    given = {"MERIDIAN_PROJECTIONS": "tests.projectors.test_operating:Dial"}
    lines = ok(emptied_settings, "replay", "dial", "dial/1", **given).splitlines()
    assert [line.partition("→ ")[2] for line in lines] == [json.dumps({"at": value}) for value in values]


def test_a_row_that_several_streams_feed_is_printed(emptied_settings: Settings, flown: list[Event]) -> None:
    row = json.loads(ok(emptied_settings, "row", "departures", "JFK"))
    assert (row["value"], row["streams"]) == ({"flights": 3, "last": "UA3"}, 3)
    assert json.loads(ok(emptied_settings, "row", "departures", "EWR/07h"))["value"] == {"flights": 1, "last": "UA7"}


def test_a_worker_feeds_several_sinks(emulated: Any, settings: Settings, database: str) -> None:
    """`projectors run` on a stream of its own: DynamoDB decides, PostgreSQL follows."""
    from chaos.child_processes import Process

    ok(settings, "init", "--sink", database)
    environment = {
        **os.environ,
        **environment_of(settings, MERIDIAN_PEERS=""),
        "MERIDIAN_PROJECTIONS": CLASSES[0],
        "MERIDIAN_SINKS": f"dynamodb {database}",
        "MERIDIAN_POLL_INTERVAL": "0.1",
    }
    line = [sys.executable, "-c", "from projectors.cli.app import main; main()", "run"]
    worker = Process("projector", line, environment, emulated.logs / "two-sinks.log")
    sinks = (DynamoSink(settings), PostgresSink(database, settings))
    worker.start()
    try:
        (event,) = connect_store(settings).append("aircraft/N9", leg("departed", "JFK", 1))
        key = ViewKey("aircraft", "aircraft/N9")
        wait_until(lambda: all(key in sink.load([key]) for sink in sinks) or not worker.running, "both views", pause=0.1)
        assert worker.running, worker.failure("ended")
        views = [sink.load([key]).get(key) for sink in sinks]
        assert views[0] == views[1]
        assert views[0] is not None
        assert views[0].vector.get(event.region) == 1
    finally:
        worker.stop()
        sinks[1].close()
    log = (emulated.logs / "two-sinks.log").read_text()
    assert "not-a-secret" not in log


def test_a_method_that_no_parser_knows_is_refused_by_the_api_itself(emptied_settings: Settings) -> None:
    """Also where httptools is installed, as it is here."""
    import httptools  # noqa: F401

    (port,) = free_ports(1)
    line = [sys.executable, "-c", "from projectors.cli.app import main; main()", "serve", "--port", str(port)]
    environment = environment_of(emptied_settings, MERIDIAN_PROJECTIONS=CLASSES[0])
    with started(line, {**CLEAN, **environment}) as server:

        def answer() -> tuple[int, str | None] | None:
            assert server.running
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("FLY", "/streams/aircraft/N1/events")
                response = connection.getresponse()
                return response.status, response.getheader("content-type")
            except ConnectionRefusedError:
                return None
            finally:
                connection.close()

        wait_until(answer, "the API answers")
        assert answer() == (405, "application/problem+json")
