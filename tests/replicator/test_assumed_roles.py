"""A region in another account is reached by a role there: what is signed for it, by whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.credentials import AssumeRoleCredentialFetcher
from botocore.exceptions import ClientError

from chaos.faults.messages import Message
from chaos.world.world import World, WorldOptions
from replicator.aws import clients, sessions
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.tables import create_tables
from replicator.connect import connect_store
from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.runtime.settings import Settings, read_settings
from tests.replicator.links import lane_of
from tests.terraform.recorder import Recorder

EAST, WEST = "us-east-1", "eu-west-1"
ROLE = "arn:aws:iam::000000000000:role/meridian-eu-west-1-copy-us-east-1"


class Signatures(Recorder):
    """Proxy that notes who signed each request: its target and the id of the access key, and the session's token."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.seen: list[tuple[str, str, str]] = []

    def _record(self, request: Message, answer: Message) -> None:
        headers = request.head.headers
        key = headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        self.seen.append((headers.get("x-amz-target", "AssumeRole"), key, headers.get("x-amz-security-token", "")))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    services = "dynamodb,dynamodbstreams,sts,iam"
    with World([EAST, WEST], options=WorldOptions(workers=False, services=services)) as made:
        yield made


@pytest.fixture
def signatures(world: World) -> Iterator[Signatures]:
    at = urlsplit(str(world.settings(WEST).endpoint(WEST)))
    made = Signatures(str(at.hostname), int(at.port or 0))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def settings(world: World, signatures: Signatures, request: pytest.FixtureRequest) -> Settings:
    """Settings of EAST, whose peer is in another account."""
    own = replace(world.settings(EAST), prefix=f"r{abs(hash(request.node.name)) % 10**9}")
    create_tables(own)
    create_tables(own.at(WEST))
    return replace(own, endpoints={**own.endpoints, WEST: signatures.url}, roles={WEST: ROLE})


def test_copies_are_signed_by_the_assumed_role(settings: Settings, signatures: Signatures) -> None:
    (event,) = connect_store(replace(settings, peers=(), roles={})).append("user/homer", NewEvent("joined", {}))
    peer = DynamoStorage(settings, WEST)
    assert not signatures.seen, "a role is assumed by the first request, not before"
    peer.insert_each([event])
    assert list(peer.read(lane_of("homer"))) == [event]
    assert peer.identity()
    assert DynamoControl(settings.at(WEST)).get("role", "role") is None

    (assume, own, _), *requests = signatures.seen
    assert assume == "AssumeRole"
    assert "AssumeRole" not in {target for target, _, _ in requests}, "one role for one session"
    assert {target.partition(".")[2] for target, _, _ in requests} >= {"BatchExecuteStatement", "Query", "DescribeTable"}
    (key,) = {key for _, key, _ in requests}
    assert key.startswith("ASIA") or key != own
    assert all(token for _, _, token in requests)


def test_the_own_region_is_reached_without_a_role(settings: Settings) -> None:
    assert sessions.session_of(settings, EAST) is sessions.session()
    assert sessions.session_of(settings, WEST) is sessions.session_of(replace(settings), WEST) is not sessions.session()


def test_credentials_are_taken_again_before_they_expire(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    lives = iter([timedelta(minutes=5), timedelta(hours=1)])
    taken: list[str] = []

    def answer(_: object) -> dict[str, Any]:
        taken.append(f"ASIA{len(taken)}")
        expiration = datetime.now(UTC) + next(lives)
        key = {"AccessKeyId": taken[-1], "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expiration}
        return {"Credentials": key}

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "_get_credentials", answer)
    of: Any = sessions.session_of(replace(settings, roles={WEST: f"{ROLE}-short"}), WEST).get_credentials()
    assert of.get_frozen_credentials().access_key == "ASIA0"
    assert of.get_frozen_credentials().access_key == "ASIA1", "ten minutes before the end at the latest"
    assert of.get_frozen_credentials().access_key == "ASIA1"
    assert taken == ["ASIA0", "ASIA1"]


def test_a_role_that_may_not_be_assumed_is_a_refusal(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def refuse(_: object) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "AssumeRole")

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "_get_credentials", refuse)
    denied = replace(settings, roles={WEST: f"{ROLE}-denied"})
    with pytest.raises(RegionRefuses, match=r"eu-west-1.* refuses AssumeRole \(AccessDenied"):
        list(DynamoStorage(denied, WEST).read(lane_of("homer")))
    client: Any = clients.dynamodb(denied, WEST)
    with pytest.raises(RegionRefuses, match="AssumeRole"):
        clients.call(denied, WEST, lambda: client.describe_table(TableName=denied.events_table))


def test_an_sts_that_throttles_is_not_a_refusal(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def throttle(_: object) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "AssumeRole")

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "_get_credentials", throttle)
    busy = replace(settings, attempts=1, roles={WEST: f"{ROLE}-busy"})
    with pytest.raises(RegionUnavailable, match="Throttling") as raised:
        list(DynamoStorage(busy, WEST).read(lane_of("homer")))
    assert not isinstance(raised.value, RegionRefuses)


def test_a_process_that_starts_before_its_own_credentials_are_there_does_not_do_without_the_role(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, signatures: Signatures
) -> None:
    early = replace(settings, attempts=1, roles={WEST: f"{ROLE}-early"})
    with monkeypatch.context() as patched:
        patched.setattr(sessions.session(), "get_credentials", lambda: None)
        peer = DynamoStorage(early, WEST)
        with pytest.raises(RegionUnavailable):
            list(peer.read(lane_of("homer")))
    assert not signatures.seen
    assert list(peer.read(lane_of("homer"))) == []
    (assume, own, _), (query, key, token) = signatures.seen
    assert assume == "AssumeRole"
    assert query.endswith("Query")
    assert token
    assert key != own


def test_roles_are_read_from_the_environment() -> None:
    read = read_settings({"MERIDIAN_REGION": EAST, "MERIDIAN_PEERS": WEST, "MERIDIAN_ROLES": f" {WEST} = {ROLE} ,"})
    assert read.roles == {WEST: ROLE}
    assert read.at(WEST).roles == {WEST: ROLE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ROLE.replace("role/", "user/"), "has no region"),
        (f"{WEST}=replicator", "is not the ARN of a role"),
        (f"{WEST}=arn:aws:iam::000000000000:user/x", "is not the ARN of a role"),
        (f"{WEST}={ROLE},{WEST}={ROLE}", "has two roles"),
        (f"west={ROLE}", "west"),
    ],
)
def test_a_role_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidConfig, match=says):
        read_settings({"MERIDIAN_REGION": EAST, "MERIDIAN_ROLES": text})
