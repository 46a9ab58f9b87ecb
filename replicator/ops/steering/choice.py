"""Choice of the traffic hook, in this one place: MERIDIAN_STEERING."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from replicator.domain.errors import InvalidConfig, InvalidName
from replicator.domain.names import check_region
from replicator.ops.steering.arc import Arc, Endpoint
from replicator.ops.steering.local_file import LocalFile
from replicator.ops.steering.nobody import Nobody
from replicator.ops.steering.port import Steering
from replicator.ops.steering.route53 import TYPES, Route53
from replicator.runtime.environment import given

_FORMS = (
    "nobody",
    "file:/path",
    "route53:ZONEID/record-name[/TYPE]",
    "arc:CLUSTER_ARN/us-east-1=ROUTING_CONTROL_ARN,eu-west-1=ROUTING_CONTROL_ARN",
)
_ROUTE53 = re.compile(r"(?P<zone>[A-Z0-9]{1,32})/(?P<name>[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?)(/(?P<kind>[A-Z]+))?")
_CLUSTER = re.compile(r"(?P<cluster>arn:[a-z0-9-]+:route53-recovery-control::\d{12}:cluster/[^/=,]+)/(?P<controls>.+)")
_CONTROL = re.compile(r"arn:[a-z0-9-]+:route53-recovery-control::\d{12}:controlpanel/[^/=,]+/routingcontrol/[^/=,]+")


def read_steering(environment: Mapping[str, str] = os.environ) -> Steering:
    """Return the traffic hook that MERIDIAN_STEERING names; MERIDIAN_STEERING_ENDPOINTS are the endpoints of an ARC cluster.

    Raises InvalidConfig with the value and the remedy.
    """
    text = given("MERIDIAN_STEERING", environment)
    kind, _, rest = text.partition(":")
    if kind in ("", "nobody") and not rest:
        return Nobody()
    if kind == "file":
        return _file(rest)
    if kind == "route53":
        return _route53(rest)
    if kind == "arc":
        return _arc(rest, given("MERIDIAN_STEERING_ENDPOINTS", environment))
    raise InvalidConfig(f"MERIDIAN_STEERING is {text!r}; write one of {', '.join(_FORMS)}")


def _file(text: str) -> LocalFile:
    path = Path(text)
    if not path.is_absolute() or path.is_dir():
        raise InvalidConfig(f"MERIDIAN_STEERING names {text!r}, which is not a file's absolute path; write {_FORMS[1]}")
    return LocalFile(path)


def _route53(text: str) -> Route53:
    found = _ROUTE53.fullmatch(text)
    if found is None:
        raise InvalidConfig(
            f"MERIDIAN_STEERING names {text!r}, which is not a record of a hosted zone; write {_FORMS[2]}, for example "
            "route53:Z0123456789ABC/www.example.com/A"
        )
    if found["kind"] not in (None, *TYPES):
        raise InvalidConfig(
            f"MERIDIAN_STEERING names the type {found['kind']}; choose from {', '.join(TYPES)}, or leave it out"
        )
    return Route53(found["zone"], found["name"], found["kind"])


def _arc(text: str, endpoints: str) -> Arc:
    found = _CLUSTER.fullmatch(text)
    if found is None:
        raise InvalidConfig(f"MERIDIAN_STEERING names {text!r}, which does not begin with a cluster ARN; write {_FORMS[3]}")
    controls = dict(_pairs(found["controls"], "MERIDIAN_STEERING", "the ARN of a routing control", _CONTROL))
    if len(controls) < 2:
        raise InvalidConfig(f"MERIDIAN_STEERING names a routing control for {', '.join(controls)} only; name every region's")
    given = _pairs(endpoints, "MERIDIAN_STEERING_ENDPOINTS", "a URL", re.compile(r"https?://[^\s,]+"))
    return Arc(found["cluster"], controls, given)


def _pairs(text: str, variable: str, what: str, form: re.Pattern[str]) -> list[Endpoint]:
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        region, _, value = item.partition("=")
        try:
            check_region(region)
        except InvalidName as error:
            raise InvalidConfig(f"{variable} has {item!r}: {error}; write <region>=<{what}>") from None
        if not form.fullmatch(value):
            raise InvalidConfig(f"{variable} gives {region} {value!r}, which is not {what}; write {region}=<{what}>")
        if region in pairs:
            raise InvalidConfig(f"{variable} names {region} twice; name it once")
        pairs[region] = value
    return list(pairs.items())
