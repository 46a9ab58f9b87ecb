"""`replicator forget`, on real tables: a line for each region, and again what is pending."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from replicator import NewEvent
from replicator.aws.key_table import DynamoKeys
from replicator.connect import connect_personal_data, connect_store
from replicator.erasure import FORGOTTEN, PersonalData
from replicator.runtime.settings import Settings
from tests.commands import Answer
from tests.commands import command as run
from tests.regions import activate, environment_of

pytestmark = pytest.mark.emulator

EAST, WEST = "us-east-1", "eu-west-1"
HOMER = "user/homer"
SECRET = "4929 1234 horse"


def command(settings: Settings, *arguments: str) -> Answer:
    return run("replicator", *arguments, **environment_of(settings, MERIDIAN_ATTEMPTS="1"))


@pytest.fixture
def personal(settings: Settings, tmp_path: Path) -> PersonalData:
    return connect_personal_data(replace(settings, personal_key=f"file:{tmp_path}/key"))


def test_it_prints_a_line_for_each_region_and_can_be_run_again(settings: Settings, personal: PersonalData) -> None:
    store = connect_store(settings)
    store.append(HOMER, NewEvent("registered", personal.protect(HOMER, {"email": SECRET}, ["email"])))
    for _ in range(2):
        result = command(settings, "forget", HOMER)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [f"{WEST}: destroyed", f"{EAST}: destroyed"]
    assert [DynamoKeys(settings, region).get(HOMER).forgotten for region in (EAST, WEST)] == [True, True]
    read = command(settings, "read", HOMER)
    assert [json.loads(line)["type"] for line in read.stdout.splitlines()] == ["registered", FORGOTTEN]
    assert SECRET not in read.stdout


def test_with_a_region_down_it_exits_1_and_says_to_run_it_again(settings: Settings) -> None:
    activate(settings)
    cut = replace(settings, endpoints={**settings.endpoints, WEST: "http://127.0.0.1:1"})
    result = command(cut, "forget", "customer 7", "--stream", "order/17", "--stream", "order/18")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    west, east = result.stdout.splitlines()
    assert west.startswith(f"{WEST}: pending ({WEST} does not answer")
    assert east == f"{EAST}: destroyed"
    (line,) = result.stderr.splitlines()
    assert line == f"error: customer 7 is not forgotten yet in {WEST}; run it again"
    assert not DynamoKeys(settings, WEST).get("customer 7").forgotten
    again = command(settings, "forget", "customer 7", "--stream", "order/17", "--stream", "order/18")
    assert (again.returncode, again.stdout.splitlines()) == (0, [f"{WEST}: destroyed", f"{EAST}: destroyed"])
    store = connect_store(settings)
    assert [len(list(store.read(stream))) for stream in ("order/17", "order/18")] == [1, 1]


def test_its_help_says_that_there_is_no_way_back(settings: Settings) -> None:
    result = command(settings, "forget", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("There is no way back", "--stream", "--peers", "MERIDIAN_PEERS", "subject"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("forget", "homer"), "stream 'homer' has no type"),
        (("forget", "a#b", "--stream", "user/homer"), "subject 'a#b' contains the key delimiter"),
        (("forget", HOMER, "--stream", "order"), "stream 'order' has no type"),
        (("forget", HOMER, "--prefix", "absent"), "table absent-keys does not exist"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_done(settings: Settings, arguments: tuple[str, ...], said: str) -> None:
    result = command(settings, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert said in line
    assert not DynamoKeys(settings).get(HOMER).forgotten
