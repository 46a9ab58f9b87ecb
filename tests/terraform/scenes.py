"""Scenes, one for each documented command: state in which the command does its work, and the command as it is typed."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from urllib.error import HTTPError, URLError

from chaos.world.world import free_ports
from projectors.model.view import ViewKey
from projectors.sinks.dynamodb import DynamoSink
from projectors.versions.versions import Versions
from replicator import NewEvent
from replicator.aws.event_table import DynamoStorage
from replicator.aws.key_table import DynamoKeys
from replicator.aws.kinesis import create_streams
from replicator.aws.sqs import Queue
from replicator.connect import connect_keys
from replicator.control.pointers import Pointers
from replicator.control.quarantine import Quarantine
from replicator.control.suspects import Suspects
from replicator.domain.names import LaneId, StreamId
from replicator.erasure import forget as forget_subject
from tests.processes import wait_until
from tests.regions import activate
from tests.terraform.stage import EAST, QUEUES, REGIONS, SOUTH, WEST, Scene, Stage

HOMER = LaneId(EAST, StreamId("member", "homer"))
ONE_MEMBER = ("projectors", "rebuild", "member")
SCENES: dict[tuple[str, str], Scene] = {}


def scene(program: str, name: str) -> Callable[[Scene], Scene]:
    """Declare the scene of a command."""

    def declare(play: Scene) -> Scene:
        SCENES[program, name] = play
        return play

    return declare


# -- applications and workers --------------------------------------------------------------------------------------------


@scene("replicator", "append")
def append(stage: Stage) -> None:
    """The first append of a new region begins its role; a later one checks the fence in its own transaction."""
    stage.furnish()
    stage.run("replicator", "append", "member/homer", "visited", '{"town": "Springfield"}')
    for event in stage.store(EAST).read("member/homer"):
        DynamoStorage(stage.at(WEST)).insert_each([event])
    stage.run("replicator", "append", "member/homer", "visited", '{"town": "Shelbyville"}', MERIDIAN_FENCE_CHECKED="*")
    assert len(list(stage.store(EAST).read("member/homer"))) == 2
    stage.run(
        "replicator", "append", "member/homer", "visited", '{"town": "Capital City"}', "--copies", "3", "--within", "60"
    )
    assert len(list(DynamoStorage(stage.at(SOUTH)).read(HOMER))) == 3


@scene("replicator", "forget")
def forget(stage: Stage) -> None:
    stage.populate()
    stage.run("replicator", "forget", "member/homer")
    assert all(DynamoKeys(stage.at(region)).get("member/homer").forgotten for region in REGIONS)


@scene("replicator", "where")
def where(stage: Stage) -> None:
    stage.populate()
    assert '"held"' in stage.run("replicator", "where", "us-east-1#member#homer#0000000000000001").stdout


@scene("replicator", "read")
def read(stage: Stage) -> None:
    stage.populate()
    assert len(stage.run("replicator", "read", "member/homer").stdout.splitlines()) == 3


@scene("replicator", "init")
def init(stage: Stage) -> None:
    assert "created" in stage.run("replicator", "init", MERIDIAN_EXTERNAL="tests.terraform.directory:Directory").stdout


@scene("replicator", "run")
def run(stage: Stage) -> None:
    """The worker copies what the stream shows, and quarantines a fork."""
    stage.furnish()
    stage.activate()
    stage.visits(EAST, "homer", 3)
    with stage.running("replicator", "run"):
        for there in (WEST, SOUTH):
            storage = DynamoStorage(stage.at(there))
            wait_until(lambda held=storage: len(list(held.read(HOMER))) == 3, f"the lane is in {there}")
        stage.visits(EAST, "homer")
        wait_until(lambda: len(list(DynamoStorage(stage.at(WEST)).read(HOMER))) == 4, "the next event is copied")


@scene("replicator", "publish")
def publish(stage: Stage) -> None:
    stage.furnish()
    stage.activate()
    name = "tests.terraform.directory:Directory"
    settings = replace(stage.settings, external=name)
    create_streams(settings)
    stage.visits(EAST, "homer", 2)
    with stage.running("replicator", "publish", MERIDIAN_EXTERNAL=name):
        wait_until(lambda: stage.recorded("kinesis", "PutRecords"), "something is published")


# -- what is wrong, and where ----------------------------------------------------------------------------------------------


@scene("replicator", "status")
def status(stage: Stage) -> None:
    stage.populate()
    for name in ("backlog-eu-west-1", "backlog-views"):
        Queue(stage.settings, name).send("a message")
    stage.visits(EAST, "homer")
    found = json.loads(stage.run("replicator", "status", "--json", code=(0, 1)).stdout)
    assert {each["region"] for each in found["regions"]} == set(REGIONS)


@scene("replicator", "verify")
def verify(stage: Stage) -> None:
    """Equal regions, a lane that somebody has tampered with, one that lacks an event; and everything, event by event."""
    stage.populate()
    stage.run("replicator", "verify")
    Suspects(stage.control(EAST)).add([HOMER], 1)
    stage.visits(EAST, "homer")
    assert "missing" in stage.run("replicator", "verify", "--wait", "0", code=1).stdout
    stage.copy()
    stage.run("replicator", "verify", "--deep")


@scene("replicator", "runs")
def runs(stage: Stage) -> None:
    stage.populate()
    broken = "file:/no-such-directory/steering.json"
    stage.run("replicator", "failover", EAST, WEST, "--yes", code=1, record=False, MERIDIAN_STEERING=broken)
    (open_run,) = [json.loads(line) for line in stage.run("replicator", "runs").stdout.splitlines()]
    (given_up,) = stage.run("replicator", "runs", "--abandon", open_run["run"]).stdout.splitlines()
    assert json.loads(given_up)["end"] == "abandoned"


@scene("replicator", "quarantine")
def quarantine(stage: Stage) -> None:
    stage.populate()
    kept = Quarantine(stage.control(EAST), f"{EAST}>{WEST}")
    kept.add(f"{HOMER.key}#0000000000000001", "a fork", b"ours", b"theirs")
    assert "a fork" in stage.run("replicator", "quarantine").stdout
    stage.run("replicator", "quarantine", "--release", HOMER.key)
    assert not kept.records()


# -- runbooks --------------------------------------------------------------------------------------------------------------


@scene("replicator", "failover")
def failover(stage: Stage) -> None:
    """A region that answers, with claims at home there and events that one survivor lacks; then one that does not answer."""
    stage.populate()
    stage.run("replicator", "homes", "--set", EAST, "--types", "member", record=False)
    stage.visits(EAST, "homer", 2)
    stage.copy(SOUTH)
    stage.run("replicator", "failover", EAST, WEST, "--yes", "--wait", "0")
    assert len(list(DynamoStorage(stage.at(WEST)).read(HOMER))) == 4
    stage.run("replicator", "failover", WEST, SOUTH, "--lost", "--yes", "--wait", "0", gone=WEST)


@scene("replicator", "failback")
def failback(stage: Stage) -> None:
    """A region that was switched off, and has lost all its data."""
    stage.populate()
    stage.run("replicator", "failover", EAST, WEST, "--yes", "--wait", "0", record=False)
    stage.visits(WEST, "marge", 3)
    stage.copy(SOUTH)
    stage.empty(EAST)
    stage.run("replicator", "failback", EAST, "--yes", "--wait", "0", "--capacity", "500")
    assert len(list(DynamoStorage(stage.at(EAST)).lanes())) == 4


@scene("replicator", "switchover")
def switchover(stage: Stage) -> None:
    stage.populate()
    stage.visits(EAST, "homer", 2)
    stage.run("replicator", "switchover", EAST, WEST, "--yes", "--wait", "0")
    stage.run("replicator", "failback", EAST, "--yes", "--wait", "0", record=False)


@scene("replicator", "bootstrap")
def bootstrap(stage: Stage) -> None:
    stage.populate()
    stage.empty(SOUTH)
    stage.run("replicator", "bootstrap", SOUTH, "--yes", "--wait", "0")
    assert len(list(DynamoStorage(stage.at(SOUTH)).lanes())) == 4


@scene("replicator", "repair")
def repair(stage: Stage) -> None:
    stage.populate()
    stage.visits(EAST, "homer", 2)
    stage.visits(WEST, "marge", 2)
    stage.run("replicator", "repair")
    assert len(list(DynamoStorage(stage.at(SOUTH)).read(HOMER))) == 4


@scene("replicator", "forks")
def forks(stage: Stage) -> None:
    """Two histories of one lane: that of a region, and that of its twin, which the other regions have."""
    stage.populate()
    twin = stage.twin()
    twin.furnish(EAST)
    activate(twin.settings)
    DynamoStorage(twin.at(EAST)).insert_each(list(DynamoStorage(stage.at(EAST)).read(HOMER)))
    stage.visits(EAST, "homer", 2, "Springfield")
    twin.visits(EAST, "homer", 1, "Shelbyville")
    for region in (WEST, SOUTH):
        DynamoStorage(stage.at(region)).insert_each(list(DynamoStorage(twin.at(EAST)).read(HOMER, 3)))
    assert "--salvage" in stage.run("replicator", "forks", code=1).stdout
    salvage = ("--salvage", f"{EAST}/member/homer", "--from", EAST, "--into", WEST)
    assert "2 events" in stage.run("replicator", "forks", *salvage).stdout


@scene("replicator", "homes")
def homes(stage: Stage) -> None:
    stage.populate()
    stage.run("replicator", "homes")
    stage.run("replicator", "homes", "--set", f"{EAST},{WEST}", "--types", "member")
    stage.run("replicator", "homes", "--set", SOUTH, "--types", "member")


# -- queues ----------------------------------------------------------------------------------------------------------------


@scene("replicator", "replay")
def replay(stage: Stage) -> None:
    """A dead letter of the views and one of a peer."""
    stage.populate()
    for target in ("views", WEST):
        letter = Pointers(f"{EAST}>{target}", {HOMER: (1, 2)}, 1, 7, {"event": "1", "error": "KeyError"})
        Queue(stage.settings, "dead-letters").send(str(letter))
    assert len(stage.run("replicator", "replay").stdout.splitlines()) == 2
    assert [Queue(stage.settings, name).depth() for name in (*QUEUES[:2], f"backlog-{WEST}")] == [1, 0, 1]


@scene("replicator", "reconcile")
def reconcile(stage: Stage) -> None:
    stage.populate()
    stage.run("replicator", "reconcile")
    stage.run("replicator", "reconcile", "--to", "views")
    assert [Queue(stage.settings, f"backlog-{target}").depth() > 0 for target in ("views", WEST, SOUTH)] == [True] * 3


# -- views -----------------------------------------------------------------------------------------------------------------


@scene("projectors", "init")
def init_views(stage: Stage) -> None:
    assert "is ready" in stage.run("projectors", "init").stdout


@scene("projectors", "run")
def run_projector(stage: Stage) -> None:
    stage.populate()
    key = ViewKey("member", "member/homer", 1)

    def visits(count: int) -> Callable[[], bool]:
        return lambda: (
            (view := DynamoSink(stage.settings).load([key]).get(key)) is not None and view.value["visits"] == count
        )

    with stage.running("projectors", "run"):
        wait_until(visits(2), "the view is folded")
        stage.visits(EAST, "homer")
        wait_until(visits(3), "the view is folded on")


@scene("projectors", "serve")
def serve(stage: Stage) -> None:
    stage.populate()
    stage.project()
    (port,) = free_ports(1)
    at = f"http://127.0.0.1:{port}"

    def call(path: str, body: object = None) -> int:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{at}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except URLError:
            return 0  # it is still starting

    with stage.running("projectors", "serve", "--port", str(port)):
        wait_until(lambda: call("/ready") == 200, "the server is ready")
        assert call("/streams/member/homer/events") == 200
        assert call("/streams/member/homer/value") in (200, 400)
        assert (
            call("/streams/member/homer/events", {"events": [{"type": "visited", "payload": {"town": "Ogdenville"}}]}) == 201
        )


@scene("projectors", "rebuild")
def rebuild(stage: Stage) -> None:
    """Into an empty table, with a subject that another region has forgotten; then again, over what is there."""
    stage.populate()
    keys = {name: each for name, each in connect_keys(stage.at(WEST)).items() if name == WEST}
    forget_subject(stage.store(WEST), keys, "member/homer")
    stage.copy()
    stage.run("projectors", "rebuild", "member", "--version", "1")
    stage.visits(EAST, "marge")
    stage.run("projectors", "rebuild", "member", "--version", "1", "--again")
    stage.run("projectors", "rebuild", "towns")
    stage.run("projectors", "rebuild", "towns", "--again")
    assert len(list(DynamoSink(stage.settings).views("member", 1))) == 2


def built(stage: Stage) -> None:
    """Views of the first version everywhere, and of the second one in us-east-1."""
    stage.populate()
    stage.project()
    stage.run(*ONE_MEMBER, record=False)


@scene("projectors", "switch")
def switch(stage: Stage) -> None:
    built(stage)
    stage.run("projectors", "switch", "member", "2")
    stage.run("projectors", "switch", "member", "1")
    assert Versions(stage.control(EAST)).active("member") == 1


@scene("projectors", "versions")
def versions(stage: Stage) -> None:
    built(stage)
    assert "member" in stage.run("projectors", "versions").stdout


@scene("projectors", "drop")
def drop(stage: Stage) -> None:
    built(stage)
    kept = Quarantine(stage.control(EAST), f"{EAST}>views")
    kept.add(f"member@1 {HOMER.key}#0000000000000001", "KeyError")
    stage.run("projectors", "switch", "member", "2", record=False)
    assert "2 views of member@1 removed" in stage.run("projectors", "drop", "member", "1").stdout
    stage.run("projectors", "drop", "towns", "1", "--force")


@scene("projectors", "verify")
def verify_views(stage: Stage) -> None:
    stage.populate()
    stage.project()
    assert stage.run("projectors", "verify", "member", "--regions", "--events").stdout.count(": equal") == 3


@scene("projectors", "show")
def show(stage: Stage) -> None:
    stage.populate()
    stage.project()
    assert json.loads(stage.run("projectors", "show", "member", "member/homer").stdout)["value"]["visits"] == 2


@scene("projectors", "row")
def row(stage: Stage) -> None:
    stage.populate()
    stage.project()
    assert json.loads(stage.run("projectors", "row", "towns", "Springfield").stdout)["value"]["visits"] == 4


@scene("projectors", "replay")
def replay_stream(stage: Stage) -> None:
    stage.populate()
    assert "Marge" in stage.run("projectors", "replay", "member", "member/marge").stdout


@scene("projectors", "conflicts")
def conflicts(stage: Stage) -> None:
    """A member is renamed in two regions at once."""
    stage.populate()
    for region in (EAST, WEST):
        named = stage.personal(region).protect("member/homer", {"name": f"of {region}"}, ["name"])
        stage.store(region).append("member/homer", NewEvent("renamed", named))
    stage.copy()
    assert "renamed" in stage.run("projectors", "conflicts", "member/homer").stdout
