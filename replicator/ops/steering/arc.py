"""Routing controls of Application Recovery Controller (ARC): one On/Off switch per region, on a cluster in five regions.

`away` turns the region Off and the other one On, in one request: the cluster applies both or neither, and its safety rules
check the result. Both methods leave every other control as it is: there is no record of which were On before, so `back`
turns nothing Off, nor does `away` if the region was sent to a third one before. A region that is On without need does no
harm, since every region of Meridian may be written, but it receives its part of the writers; the plan mentions it. To keep
the writers in one region alone, send those of the other one away (`switchover`).

The cluster answers in five regions, of which AWS promises three at any time and advises to try each in turn. Their names can
be read in us-west-2 alone: give them as MERIDIAN_STEERING_ENDPOINTS, so that a failover does not depend on that region.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from replicator.aws.clients import error_code
from replicator.ops.steering import traffic_clients
from replicator.ops.steering.steering_failed import SteeringFailed, check_move

Endpoint = tuple[str, str]
"""Endpoint of a cluster: a region and the URL there."""

_ROUNDS = 2
_ELSEWHERE = {"EndpointTemporarilyUnavailableException", "InternalServerException", "ThrottlingException"}


class Arc:
    """Moves writers by the routing controls of a cluster: `controls` maps each region to its control's ARN."""

    def __init__(
        self,
        cluster: str,
        controls: Mapping[str, str],
        endpoints: Sequence[Endpoint] = (),
        *,
        connect: Callable[[str, str], Any] = traffic_clients.cluster,
        describe: Callable[[], Any] = traffic_clients.control_config,
    ) -> None:
        """Look the endpoints up each time if none are given."""
        self._cluster = cluster
        self._controls = dict(controls)
        self._endpoints = tuple(endpoints)
        self._connect = connect
        self._describe = describe

    def plan(self, region: str, to: str | None) -> str:
        check_move(region, to)
        try:
            would = f"would turn {self._shown(self._states(region, to))}"
        except SteeringFailed as error:
            return f"would fail: {error}"
        if to is None or not self._controls.keys() - {region, to}:
            return would
        return f"{would}, and no other: where an earlier move of {region} turned one On, it stays On and takes writers too"

    def away(self, region: str, to: str) -> str:
        check_move(region, to)
        return self._update(region, to)

    def back(self, region: str) -> str:
        check_move(region, None)
        return self._update(region, None)

    def _states(self, region: str, to: str | None) -> dict[str, str]:
        states = {region: "On"} if to is None else {region: "Off", to: "On"}
        if missing := [name for name in states if name not in self._controls]:
            raise SteeringFailed(
                f"no routing control is named for {', '.join(missing)}, only for {', '.join(sorted(self._controls))}; add "
                f"{missing[0]}=<ARN> to MERIDIAN_STEERING"
            )
        return states

    @staticmethod
    def _shown(states: Mapping[str, str]) -> str:
        return " and ".join(f"the routing control of {region} {state}" for region, state in states.items())

    def _update(self, region: str, to: str | None) -> str:
        states = self._states(region, to)
        entries = [
            {"RoutingControlArn": self._controls[name], "RoutingControlState": state} for name, state in states.items()
        ]
        failures = []
        for where, url in self._order(region):
            try:
                self._connect(where, url).update_routing_control_states(UpdateRoutingControlStateEntries=entries)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if error_code(error) not in _ELSEWHERE and status < 500:
                    raise SteeringFailed(self._refusal(states, error)) from None
                failures.append(f"{where}: {error_code(error) or status}")
            except (BotoCoreError, ValueError) as error:
                failures.append(f"{where}: {type(error).__name__}")
            else:
                return f"turned {self._shown(states)}"
        raise SteeringFailed(
            f"no endpoint of the cluster turned {self._shown(states)} ({'; '.join(failures)}). Whether one did without "
            "confirming it is not known; run this again, or update the controls by hand at another endpoint"
        )

    def _order(self, region: str) -> list[Endpoint]:
        """Return every endpoint, twice, in random order as AWS advises; the endpoint of the region to leave comes last."""
        found = list(self._endpoints) or self._ask()
        shuffled = random.sample(found, len(found))
        return sorted(shuffled, key=lambda endpoint: endpoint[0] == region) * _ROUNDS

    def _ask(self) -> list[Endpoint]:
        try:
            cluster = self._describe().describe_cluster(ClusterArn=self._cluster)["Cluster"]
            found = [(endpoint["Region"], endpoint["Endpoint"]) for endpoint in cluster.get("ClusterEndpoints", [])]
            status = cluster.get("Status", "unknown")
        except (BotoCoreError, ClientError) as error:
            raise SteeringFailed(
                f"the endpoints of cluster {self._cluster} cannot be read ({error}); nothing was changed. Give them as "
                "MERIDIAN_STEERING_ENDPOINTS=us-east-1=https://…,…, as they are listed by "
                "`aws route53-recovery-control-config describe-cluster`"
            ) from None
        if not found:
            raise SteeringFailed(f"cluster {self._cluster} has no endpoints, and is {status}; wait until it is DEPLOYED")
        return found

    def _refusal(self, states: Mapping[str, str], error: ClientError) -> str:
        said = error.response.get("Error", {}).get("Message") or error.response.get("message") or str(error)
        if error_code(error) == "ConflictException":
            return (
                f"a safety rule, or another update, does not let the cluster turn {self._shown(states)}: {said}. Nothing "
                "was changed; change the rule, or override it by hand with --safety-rules-to-override"
            )
        return f"the cluster refused to turn {self._shown(states)}: {error_code(error)}: {said}. Nothing was changed"
