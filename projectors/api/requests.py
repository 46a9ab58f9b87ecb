"""Readers of requests: they check every header, parameter and body before any call to the store."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from projectors.api.paths import sent_path
from projectors.api.problems import Problem
from replicator.domain.canonical import unique_members
from replicator.domain.errors import InvalidOperation, shown
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.durability import WITHIN_SECONDS
from replicator.eventstore.history import AtSequence, Moment
from replicator.eventstore.operations import Always, AtToken, IfEmpty, Operation, Precondition
from replicator.eventstore.storage import MAX_EVENTS

AT_LEAST = "Meridian-At-Least"
PREFER = "Prefer"
RESERVED = "meridian."
"""Prefix of the types of Meridian's own events: claims, forgetting, restreaming. Clients may not send them."""
MAX_BODY = 5 * 1024 * 1024
MAX_LIMIT = 1000
MAX_WAIT = 20
"""Maximum seconds for which a write waits for copies."""
IF_MATCH, IF_NONE_MATCH = "If-Match", "If-None-Match"
# Behind the first dot, a value's ETag has its projection's version and a digest of the body: a write ignores both.
_ETAG = re.compile(r'"([A-Za-z0-9_-]*)(\.[0-9]+(\.[A-Za-z0-9_-]+)?)?"')
_CONDITIONAL = (IF_MATCH, IF_NONE_MATCH, "If-Modified-Since", "If-Unmodified-Since", "If-Range")


def stream_of(request: Request) -> StreamId:
    """Return the stream that a path names. One whose bytes are not UTF-8 names none; if it was decoded on the way, U+FFFD
    stands in their place."""
    sent = sent_path(request.scope)
    decoded = sent if isinstance(sent, str) else ""
    try:
        kind, name = (unquote_to_bytes(request.path_params[each]).decode() for each in ("type", "id"))
    except UnicodeDecodeError:
        kind, decoded = "", "\ufffd"
    if "\ufffd" in decoded:
        raise Problem("invalid-name", 400, "the path is not UTF-8; percent-encode the UTF-8 bytes of the type and the id")
    return StreamId(kind, name)


def check_parameters(request: Request, known: Collection[str]) -> None:
    """Refuse query parameters that the route does not know, or that come twice: a misspelt one would be ignored, and the
    client given other data than it asked for."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            takes = f"this path takes {', '.join(known)}" if known else "this path takes none"
            raise _bad(f"unknown query parameter {shown(name)}; {takes}")
        if given.count(name) > 1:
            raise _bad(f"query parameter {name} is given {given.count(name)} times; give it once")


def check_conditions(request: Request, judged: Collection[str], instead: str) -> None:
    """Refuse conditional headers that the route does not judge: a request that depends on one would be carried out all the
    same.

    Reads ignore conditions on a modification time, which nothing here has (RFC 9110, section 13.1), and ETags in
    If-None-Match if they have none: none of them matches.
    """
    reads = request.method in ("GET", "HEAD")
    for name in _CONDITIONAL:
        if name in judged or name not in request.headers:
            continue
        if reads and (name not in (IF_MATCH, IF_NONE_MATCH) or (name == IF_NONE_MATCH and "*" not in tags(request, name))):
            continue
        raise _bad(f"{name} is not supported here; {instead}")


def at_least_of(request: Request) -> str | None:
    """Return the token of the header Meridian-At-Least."""
    given = set(request.headers.getlist(AT_LEAST))
    if len(given) > 1:
        raise _bad(f"{AT_LEAST} is given {len(given)} times; give one token that names all of it")
    return next(iter(given), None)


def copies_of(request: Request) -> tuple[int | None, float]:
    """Return how many regions a write is to wait for, and for how many seconds: `Prefer: copies=2, wait=1` (RFC 7240; others
    than these two are passed over). None: the settings decide. The store judges the number."""
    given: dict[str, str] = {}
    for line in request.headers.getlist(PREFER):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            given.setdefault(name.strip().lower(), value.strip().strip('"'))
    for name, low, high in (("copies", 1, 999), ("wait", 1, MAX_WAIT)):
        if name in given and (not re.fullmatch("[0-9]{1,3}", given[name], re.ASCII) or not low <= int(given[name]) <= high):
            raise _bad(f"{PREFER}: {name} is {shown(given[name])}; give a whole number from {low} to {high}")
    return int(given["copies"]) if "copies" in given else None, float(given.get("wait", WITHIN_SECONDS))


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number among the query's parameters."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,16}", text, re.ASCII) or not low <= int(text) <= high:
        raise _bad(f"{name} is {shown(text)}; give a whole number from {low} to {high}")
    return int(text)


def moment_of(request: Request) -> Moment | None:
    """Return the moment that a read asks for: `token`, or `time` (RFC 3339), or `sequence` with `region`. At most one."""
    given = {name: request.query_params[name] for name in ("token", "time", "sequence") if name in request.query_params}
    if len(given) > 1:
        raise _bad(f"{' and '.join(given)} name more than one moment; give one of them")
    if "region" in request.query_params and "sequence" not in given:
        raise _bad("region names the lane of a sequence; give the sequence too, or leave it out")
    if "token" in given:
        return given["token"]
    if "time" in given:
        return _time(given["time"])
    if "sequence" in given:
        region = request.query_params.get("region")
        if region is None:
            raise _bad("sequence names an event of a lane; give the lane's region too")
        return AtSequence(number(request, "sequence", 0, 0, 10**15), region)
    return None


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _bad(f"time {shown(text)} is not of the form 2026-11-24T18:00:00Z") from None


def precondition_of(request: Request) -> Precondition:
    """Return the precondition of a write. If-Match with an ETag of ours: the stream is where the token says. If-None-Match:
    * : it has no event."""
    match, none_match = tags(request, IF_MATCH), tags(request, IF_NONE_MATCH)
    condition: Precondition = Always()
    if none_match:
        if none_match != {"*"}:
            raise _bad(f"If-None-Match is {_listed(none_match)}; a write takes only *, meaning that the stream is empty")
        condition = IfEmpty()
    if match:
        found = _ETAG.fullmatch(_listed(match))
        if found is None:
            raise _bad(f'If-Match is {_listed(match)}; give one strong ETag as a read returned it, for example "Abc…"')
        condition = AtToken(found[1]) & condition if none_match else AtToken(found[1])
    return condition


def changed(request: Request, etag: str, exists: bool) -> bool:
    """Return whether If-Match names neither this ETag nor, if the resource exists, *: the reader asked for that one
    alone."""
    wanted = tags(request, IF_MATCH)
    return bool(wanted) and etag not in wanted and not ("*" in wanted and exists)


def matches(request: Request, etag: str, exists: bool) -> bool:
    """Return whether If-None-Match names this ETag, or is * and the resource exists: the reader has it already."""
    known = tags(request, IF_NONE_MATCH)
    return etag in {each.removeprefix("W/") for each in known} or ("*" in known and exists)


def tags(request: Request, name: str) -> set[str]:
    """Return the tags of a header: its lines and the parts between commas count together."""
    return {each.strip() for line in request.headers.getlist(name) for each in line.split(",")}


def _listed(tags: set[str]) -> str:
    return ", ".join(sorted(tags))


async def body_of(request: Request) -> bytes:
    """Return the request's body: JSON by its header, at most 5 MB, not parsed yet."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("unsupported-media-type", 415, f"Content-Type is {shown(kind)}; send application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Problem("too-large", 413, f"the body has more than {MAX_BODY:,} bytes; send fewer events at once")
    return bytes(body)


def json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. A large one takes long: on a thread, not on the event loop."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, object_pairs_hook=unique_members)
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is not JSON: {type(error).__name__}: {error}") from None
    if not isinstance(value, dict):
        raise _bad(f"the body is a JSON {type(value).__name__}; send an object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def events_of(value: Any) -> list[NewEvent]:
    """Return the new events of a body: 1 to MAX_EVENTS objects with `type` and `payload`, perhaps `version` and
    `metadata`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_EVENTS:
        raise _unfit(f"events is not an array of 1 to {MAX_EVENTS} events")
    return [_event(each, f"events[{place}]") for place, each in enumerate(value)]


def _event(value: Any, where: str) -> NewEvent:
    fields = _fields(value, where, {"type": str, "payload": dict}, {"version": int, "metadata": dict})
    if fields["type"].startswith(RESERVED):
        raise _unfit(
            f"{where}.type is {shown(fields['type'])}; types that begin with {RESERVED!r} are written by Meridian alone"
        )
    return NewEvent(fields["type"], fields["payload"], fields.get("version", 1), fields.get("metadata", {}))


def operations_of(body: Mapping[str, Any], after: str | None) -> list[Operation]:
    """Return the operations of a transaction: each a stream, its events, and perhaps `if_match` (a token) or `if_empty`."""
    listed = body.get("operations")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_EVENTS:
        raise _unfit(f"operations is not an array of 1 to {MAX_EVENTS} operations")
    _only(body, "the body", ("operations",))
    return [_operation(each, f"operations[{place}]", after) for place, each in enumerate(listed)]


def _operation(value: Any, where: str, after: str | None) -> Operation:
    fields = _fields(value, where, {"stream": str, "events": list}, {"if_match": str, "if_empty": bool})
    if fields.get("if_empty") and "if_match" in fields:
        raise _unfit(f"{where} has both if_match and if_empty; a stream with a token is not empty")
    condition = AtToken(fields["if_match"]) if "if_match" in fields else IfEmpty() if fields.get("if_empty") else None
    return Operation(fields["stream"], events_of(fields["events"]), condition, after)


def only(body: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse a body with members that mean nothing here: a misspelt one would be lost silently."""
    _only(body, "the body", names)


def _only(value: Mapping[str, Any], where: str, names: Sequence[str]) -> None:
    if strange := sorted(set(value) - set(names)):
        raise _unfit(f"{where} has the unknown member {shown(strange[0])}; it takes {', '.join(names)}")


def _fields(value: Any, where: str, wanted: Mapping[str, type], optional: Mapping[str, type]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(f"{where} is not an object")
    _only(value, where, (*wanted, *optional))
    for name, kind in (*wanted.items(), *optional.items()):
        if name not in value and name in optional:
            continue
        if type(value.get(name)) is not kind:
            raise _unfit(f"{where}.{name} is missing, or is not of type {_KINDS[kind]}")
    return value


_KINDS = {str: "string", dict: "object", list: "array", int: "integer", bool: "boolean"}


def _bad(detail: str) -> Problem:
    return Problem("bad-request", 400, detail)


def _unfit(detail: str) -> Problem:
    return Problem("invalid-event", 422, detail)


def token_text(given: str | None, what: str) -> str | None:
    """Return a token from a query's parameters; an empty one is an error rather than no token."""
    if given == "":
        raise InvalidOperation(f"{what} is empty; leave it out, or give a token")
    return given
