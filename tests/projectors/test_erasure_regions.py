"""Erasure on real regions: their own processes and tables, one of them frozen while a subject is forgotten; and with KMS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.world.world import World, WorldOptions
from projectors import Engine, Projection, add, collection, register
from projectors.model.view import ViewKey
from projectors.sinks.dynamodb import DynamoSink
from replicator import NewEvent, Settings
from replicator.aws import clients
from replicator.aws.key_table import DynamoKeys
from replicator.connect import connect_personal_data, connect_store
from replicator.erasure import PersonalData, SubjectKeys
from tests.processes import wait_until

pytestmark = pytest.mark.emulator

EAST, WEST = "us-east-1", "eu-west-1"
HOMER = "user/homer"
SECRET = "4929 1234 horse"
MODULE = """
from projectors import Projection, add, collection, register

class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"])
    plans = collection(registered=lambda p: add(p["plan"]))
"""


class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"])
    plans = collection(registered=lambda p: add(p["plan"]))


def until(done: Callable[[], bool]) -> None:
    wait_until(done, "it has happened")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "accounts.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MERIDIAN_PERSONAL_KEY", f"file:{tmp_path}/key")
    with World([EAST, WEST], ["accounts:Account"], options=WorldOptions(read_timeout=1.0, attempts=1)) as started:
        yield started


def personal_of(settings: Settings, tmp_path: Path) -> PersonalData:
    return connect_personal_data(replace(settings, personal_key=f"file:{tmp_path}/key"))


def view(settings: Settings) -> Any:
    return DynamoSink(settings).load([ViewKey("account", HOMER)]).get(ViewKey("account", HOMER))


def test_a_region_frozen_while_a_subject_was_forgotten_forgets_when_it_is_back(world: World, tmp_path: Path) -> None:
    east, west = world.settings(EAST), world.settings(WEST)
    personal = {settings.region: personal_of(settings, tmp_path) for settings in (east, west)}
    for n, settings in enumerate((east, west)):
        payload = {"email": f"{SECRET}{n}", "plan": f"gold{n}"}
        new = NewEvent("registered", personal[settings.region].protect(HOMER, payload, ["email"]))
        world.store(settings.region).append(HOMER, new)
    until(lambda: all((v := view(s)) is not None and v.value["plans"] == ["gold0", "gold1"] for s in (east, west)))
    assert view(east).digest == view(west).digest
    assert SECRET in view(west).value_text
    before = {region: [e.digest for e in world.store(EAST).read_lane(HOMER, region)] for region in (EAST, WEST)}

    world.regions[WEST].freeze()
    answer = personal[EAST].forget(world.store(EAST), HOMER)
    assert (answer.destroyed, set(answer.pending)) == ((EAST,), {WEST})
    until(lambda: SECRET not in view(east).state_text)
    world.regions[WEST].thaw()

    until(lambda: view(west).vector == view(east).vector)
    assert view(east).digest == view(west).digest
    assert (view(west).value, SECRET in view(west).state_text) == ({"email": None, "plans": ["gold0", "gold1"]}, False)
    assert [DynamoKeys(s).get(HOMER) for s in (east, west)] == [SubjectKeys(forgotten=True)] * 2
    for region, digests in before.items():  # the chain still verifies, everywhere
        for reader in (EAST, WEST):
            assert [e.digest for e in world.store(reader).read_lane(HOMER, region)][: len(digests)] == digests
    assert personal[EAST].forget(world.store(EAST), HOMER).complete


@pytest.fixture(scope="module")
def kms_world() -> Iterator[World]:
    with World([EAST], options=WorldOptions(workers=False, services="dynamodb,dynamodbstreams,kms")) as started:
        yield started


def test_with_kms_what_is_forgotten_is_unreadable_to_the_kms_key_itself(kms_world: World) -> None:
    settings = kms_world.settings(EAST)
    key = clients.kms(settings, EAST).create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    personal = connect_personal_data(replace(settings, personal_key=key))
    store, sink = connect_store(settings), DynamoSink(settings)
    (event,) = store.append(
        HOMER, NewEvent("registered", personal.protect(HOMER, {"email": SECRET, "plan": "x"}, ["email"]))
    )
    engine = Engine([Account], store, sink, personal)
    assert engine.apply([event]) == []
    assert view(settings).value["email"] == SECRET
    assert personal.forget(store, HOMER).complete
    assert engine.apply(list(store.read(HOMER))) == []
    assert view(settings).value == {"email": None, "plans": ["x"]}
    fresh = connect_personal_data(replace(settings, personal_key=key))
    assert fresh.reveal(event.payload).forgotten == {"email"}
    scan: Any = clients.dynamodb(settings, EAST).scan(TableName=settings.keys_table)
    assert scan["Items"] == [{"pk": {"S": HOMER}, "forgotten": {"BOOL": True}}]
