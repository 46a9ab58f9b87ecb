"""Routing controls on a cluster that speaks ARC's protocol: every endpoint is tried, and a refusal is told as it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chaos.world.world import free_ports
from replicator.ops.steering import SteeringFailed, read_steering
from replicator.ops.steering.arc import Arc
from tests.replicator.servers import serving

ACCOUNT = "arn:aws:route53-recovery-control::123456789012"
CLUSTER = f"{ACCOUNT}:cluster/5678abcd-abcd-5678-abcd-5678abcdefgh"
CONTROLS = {
    region: f"{ACCOUNT}:controlpanel/0123456bbbbbbb/routingcontrol/{number}"
    for number, region in enumerate(("us-east-1", "eu-west-1", "ap-southeast-2"))
}
EAST, WEST, SOUTH = CONTROLS
PLACES = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2")


class Cluster:
    """The states of the controls, one for all endpoints as at AWS, and a safety rule: what has to be so afterwards."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(CONTROLS.values(), "On")
        self.rule: dict[str, str] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()

    def update(self, where: str, request: dict[str, Any]) -> tuple[int, dict[str, str]]:
        with self.lock:
            self.requests.append(where)
            entries = request["UpdateRoutingControlStateEntries"]
            after = self.states | {entry["RoutingControlArn"]: entry["RoutingControlState"] for entry in entries}
            if unknown := after.keys() - self.states.keys():
                return 400, {"__type": "ResourceNotFoundException", "message": f"{unknown.pop()} does not exist"}
            if any(after[arn] != state for arn, state in self.rule.items()):
                return 400, {"__type": "ConflictException", "message": "rule Frozen was not met"}
            self.states = after
            return 200, {}

    def on(self) -> set[str]:
        return {region for region, arn in CONTROLS.items() if self.states[arn] == "On"}


@contextmanager
def endpoint(cluster: Cluster, where: str, failure: tuple[int, str] | None = None) -> Iterator[tuple[str, str]]:
    """One endpoint of the cluster, which fails with this status and error if there is one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["X-Amz-Target"] == "ToggleCustomerAPI.UpdateRoutingControlStates"
            assert f"/{where}/route53-recovery-cluster/aws4_request" in self.headers["Authorization"]
            if failure:
                cluster.requests.append(where)
                status, answer = failure[0], {"__type": failure[1], "message": "not now"}
            else:
                status, answer = cluster.update(where, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield where, f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def read(endpoints: list[tuple[str, str]], controls: dict[str, str] = CONTROLS) -> Any:
    pairs = ",".join(f"{region}={arn}" for region, arn in controls.items())
    urls = ",".join(f"{region}={url}" for region, url in endpoints)
    return read_steering({"MERIDIAN_STEERING": f"arc:{CLUSTER}/{pairs}", "MERIDIAN_STEERING_ENDPOINTS": urls})


def test_away_and_back_can_be_repeated(cluster: Cluster) -> None:
    with endpoint(cluster, "us-west-2") as only:
        steering = read([only])
        for _ in range(2):
            said = steering.away(EAST, WEST)
            assert said == "turned the routing control of us-east-1 Off and the routing control of eu-west-1 On"
            assert cluster.on() == {WEST, SOUTH}
        for _ in range(2):
            assert steering.back(EAST) == "turned the routing control of us-east-1 On"
            assert cluster.on() == {EAST, WEST, SOUTH}


def test_one_request_turns_one_off_and_the_other_on(cluster: Cluster) -> None:
    cluster.states = dict.fromkeys(CONTROLS.values(), "Off") | {CONTROLS[EAST]: "On"}
    with endpoint(cluster, "us-west-2") as only:
        read([only]).away(EAST, WEST)
    assert cluster.on() == {WEST}
    assert len(cluster.requests) == 1


def test_who_is_sent_on_to_another_leaves_the_first_on_since_nothing_says_whether_it_was_so_before(cluster: Cluster) -> None:
    cluster.states = dict.fromkeys(CONTROLS.values(), "Off") | {CONTROLS[EAST]: "On"}
    with endpoint(cluster, "us-west-2") as only:
        read([only]).away(EAST, WEST)
        assert "it stays On and takes writers too" in read([only]).plan(EAST, SOUTH)
        for _ in range(2):
            read([only]).away(EAST, SOUTH)
            assert cluster.on() == {WEST, SOUTH}


@pytest.mark.parametrize("works", PLACES)
def test_every_endpoint_is_tried_until_one_answers(cluster: Cluster, works: str) -> None:
    failures = [
        (503, "EndpointTemporarilyUnavailableException"),
        (500, "InternalServerException"),
        (429, "ThrottlingException"),
    ]
    with ExitStack() as stack:
        broken = [place for place in PLACES if place != works]
        endpoints = [
            stack.enter_context(endpoint(cluster, place, failure)) for place, failure in zip(broken, failures, strict=False)
        ]
        endpoints.append((broken[-1], f"http://127.0.0.1:{free_ports(1)[0]}"))  # nobody listens there
        endpoints.append(stack.enter_context(endpoint(cluster, works)))
        read(endpoints).away(EAST, WEST)
    assert cluster.on() == {WEST, SOUTH}
    assert cluster.requests[-1] == works
    assert len(set(cluster.requests)) == len(cluster.requests)


def test_the_endpoint_in_the_region_that_is_left_comes_last(cluster: Cluster) -> None:
    with ExitStack() as stack:
        read([stack.enter_context(endpoint(cluster, place)) for place in (EAST, WEST)]).away(EAST, WEST)
    assert cluster.requests == [WEST]


def test_when_no_endpoint_answers_all_were_tried_twice_and_are_named(cluster: Cluster) -> None:
    unavailable = (503, "EndpointTemporarilyUnavailableException")
    with ExitStack() as stack, pytest.raises(SteeringFailed) as failed:
        read([stack.enter_context(endpoint(cluster, place, unavailable)) for place in PLACES]).away(EAST, WEST)
    assert sorted(cluster.requests) == sorted(PLACES * 2)
    assert all(f"{place}: EndpointTemporarilyUnavailableException" in str(failed.value) for place in PLACES)
    assert "run this again" in str(failed.value)
    assert cluster.on() == {EAST, WEST, SOUTH}


def test_a_safety_rule_that_refuses_is_told_and_no_other_endpoint_is_asked(cluster: Cluster) -> None:
    cluster.rule = {CONTROLS[EAST]: "On"}
    with ExitStack() as stack:
        steering = read([stack.enter_context(endpoint(cluster, place)) for place in PLACES])
        with pytest.raises(
            SteeringFailed, match=r"a safety rule, .*: rule Frozen was not met\. Nothing was changed; change"
        ):
            steering.away(EAST, WEST)
    assert len(cluster.requests) == 1
    assert cluster.on() == {EAST, WEST, SOUTH}


def test_a_control_that_is_not_there_is_told(cluster: Cluster) -> None:
    with (
        endpoint(cluster, "us-west-2") as only,
        pytest.raises(SteeringFailed, match=r"ResourceNotFoundException: .*missing does"),
    ):
        read([only], CONTROLS | {WEST: f"{CONTROLS[WEST]}missing"}).away(EAST, WEST)


def test_a_region_without_a_control_is_named_with_the_remedy() -> None:
    steering = read([])
    with pytest.raises(SteeringFailed, match=r"no routing control is named for sa-east-1, only for .*; add sa-east-1=<ARN>"):
        steering.away(EAST, "sa-east-1")
    assert steering.plan(EAST, "sa-east-1").startswith("would fail: no routing control is named for sa-east-1")


def test_a_plan_needs_no_cluster() -> None:
    steering = read([])
    assert steering.plan(EAST, WEST) == (
        "would turn the routing control of us-east-1 Off and the routing control of eu-west-1 On, and no other: where an "
        "earlier move of us-east-1 turned one On, it stays On and takes writers too"
    )
    assert steering.plan(EAST, None) == "would turn the routing control of us-east-1 On"


def config_client() -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-west-2"}
    return boto3.client("route53-recovery-control-config", **keys)


def test_endpoints_that_were_not_given_are_asked_for(cluster: Cluster) -> None:
    client = config_client()
    with endpoint(cluster, "us-west-2") as (where, url), Stubber(client) as stub:
        found = {"ClusterArn": CLUSTER, "Status": "DEPLOYED", "ClusterEndpoints": [{"Region": where, "Endpoint": url}]}
        stub.add_response("describe_cluster", {"Cluster": found}, {"ClusterArn": CLUSTER})
        Arc(CLUSTER, CONTROLS, describe=lambda: client).away(EAST, WEST)
    assert cluster.on() == {WEST, SOUTH}


def test_a_cluster_that_cannot_be_asked_for_its_endpoints_leads_to_the_setting() -> None:
    client = config_client()
    with Stubber(client) as stub:
        stub.add_client_error("describe_cluster", "AccessDeniedException", "not yours", 403)
        with pytest.raises(
            SteeringFailed, match=r"not yours.*nothing was changed\. Give them as MERIDIAN_STEERING_ENDPOINTS="
        ):
            Arc(CLUSTER, CONTROLS, describe=lambda: client).away(EAST, WEST)


def test_a_cluster_that_is_being_made_is_told_from_one_that_fails() -> None:
    client = config_client()
    with Stubber(client) as stub:
        stub.add_response("describe_cluster", {"Cluster": {"ClusterArn": CLUSTER, "Status": "PENDING"}})
        with pytest.raises(SteeringFailed, match="has no endpoints, and is PENDING; wait until it is DEPLOYED"):
            Arc(CLUSTER, CONTROLS, describe=lambda: client).away(EAST, WEST)
