"""Parser of a request's service, operation, region and wire format, by LocalStack's rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

from chaos.faults.messages import Message
from chaos.faults.models import model

UNKNOWN = "unknown"

_SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/([a-z0-9-]+)/([A-Za-z0-9-]+)/aws4_request")
_NAMES = {  # where the signing name is not the service's
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
    "email": "ses",
    "elasticloadbalancing": "elbv2",
    "elasticmapreduce": "emr",
    "elasticfilesystem": "efs",
    "tagging": "resourcegroupstaggingapi",
    "mq": "mq",
}
_PREFIXES = {"DynamoDBStreams_20120810": "dynamodbstreams", "DynamoDB_20120810": "dynamodb"}  # both have one signing name
_RPC = re.compile(r"/service/[^/]+/operation/([A-Za-z0-9]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """Service, operation and region of a request. `protocol` is one of json, query, ec2, rest-json, rest-xml, cbor."""

    service: str
    operation: str
    region: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.service} {self.operation} in {self.region}"


def what_is_asked(request: Message, region: str = UNKNOWN) -> Asked:
    """Return service, operation, region and protocol of this request; `region` where it gives none. Unknown parts are
    UNKNOWN."""
    headers = request.head.headers
    service = UNKNOWN
    scope = _SCOPE.search(headers.get("authorization", "")) or _presigned(request.target)
    if scope is not None:
        region, service = scope[1], _NAMES.get(scope[2], scope[2])
    prefix, dot, operation = headers.get("x-amz-target", "").rpartition(".")
    if dot:
        return Asked(_PREFIXES.get(prefix, service), operation, region, "json")
    url = urlsplit(request.target)
    if call := _RPC.search(url.path):
        return Asked(service, call[1], region, "cbor")
    query = parse_qs(url.query, keep_blank_values=True)
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        query = {**query, **parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)}
    if "Action" in query:
        return Asked(service, query["Action"][0], region, "ec2" if service == "ec2" else "query")
    protocol = str(model(service)["metadata"].get("protocol", "rest-json"))
    return Asked(service, _rest(service, request.method, unquote(url.path), query, headers), region, protocol)


def _presigned(target: str) -> re.Match[str] | None:
    return (
        _SCOPE.search(unquote(target).replace("X-Amz-Credential=", "Credential=")) if "X-Amz-Credential" in target else None
    )


@dataclass(frozen=True, slots=True)
class _Route:
    """Route of an operation over REST."""

    operation: str
    method: str
    path: re.Pattern[str]
    queries: frozenset[str]
    headers: frozenset[str]
    fixed: int
    """Number of fixed characters of the path: the most specific route goes first."""


def _rest(service: str, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> str:
    path = path.rstrip("/") or "/"
    for route in _routes(service):
        if (
            route.method == method
            and route.queries <= query.keys()
            and route.headers <= headers.keys()
            and route.path.fullmatch(path)
        ):
            return route.operation
    return UNKNOWN


@cache
def _routes(service: str) -> tuple[_Route, ...]:
    """Return the operations of a service, the most specific first."""
    known = model(service)
    found = []
    for name, operation in known["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        members = known["shapes"].get(operation.get("input", {}).get("shape", ""), {})
        needed: dict[str, set[str]] = {"querystring": set(), "header": set()}
        for member in members.get("required", ()):
            shape = members["members"][member]
            if shape.get("location") in needed:
                needed[shape["location"]].add(shape["locationName"])
        pattern = re.sub(
            r"\\\{[^}]*?(\\\+)?\\\}", lambda found: ".+" if found[1] else "[^/]+", re.escape(path.rstrip("/") or "/")
        )
        queries = needed["querystring"] | set(parse_qs(query, keep_blank_values=True))
        lower = frozenset(each.lower() for each in needed["header"])
        fixed = len(re.sub(r"\{.*?\}", "", path))
        found.append(_Route(name, operation["http"]["method"], re.compile(pattern), frozenset(queries), lower, fixed))
    return tuple(sorted(found, key=lambda each: (-len(each.queries) - len(each.headers), -each.fixed, each.operation)))
