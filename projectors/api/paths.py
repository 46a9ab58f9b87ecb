"""Path of a request as it was sent: percent-encoded, so that an encoded `/` is part of a name and separates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

_IN_A_SEGMENT = "!$&'()*+,;=:@"  # RFC 3986, section 3.3: what a segment may hold beside letters, digits and -._~


def sent_path(scope: Mapping[str, Any]) -> bytes | str:
    """Return the path as the server (bytes) or Lambda's event (`rawPath`, a text) gives it; without either, the decoded one,
    encoded again: each `/` in it is a separator then."""
    event: Mapping[str, Any] = scope.get("aws.event") or {}
    if "rawPath" in event:
        return str(event["rawPath"])
    raw = scope.get("raw_path")
    return raw if isinstance(raw, bytes) else str(scope["path"]).replace("%", "%25")


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path to find a route by: what needs no encoding is not encoded, all else is."""
    sent = sent_path(scope)
    path = sent.encode("utf-8", "surrogatepass") if isinstance(sent, str) else sent
    return "/".join(quote(unquote_to_bytes(segment), safe=_IN_A_SEGMENT) for segment in path.split(b"/"))
