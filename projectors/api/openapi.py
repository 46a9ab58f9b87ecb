"""OpenAPI document of the API: written by hand; tests compare every answer with it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from projectors.model.projection import Projection
from replicator.domain.names import MAX_EVENT_TYPE_BYTES, MAX_ID_BYTES, MAX_TYPE_BYTES
from replicator.eventstore.storage import MAX_EVENTS
from replicator.runtime.distribution import DISTRIBUTION

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_VECTOR: Json = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}
_TIME: Json = {"type": "string", "format": "date-time"}
_TEXTS: Json = {"type": "object", "additionalProperties": _TEXT}


def document(projections: Mapping[str, type[Projection]]) -> Json:
    """Return the document, naming the projections that are served."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meridian",
            "version": version(DISTRIBUTION),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Streams of immutable events in one region, and their values. Consistency tokens are ETags (a value's has "
                "its projection's version and a digest of the body appended, after dots): give an ETag as If-Match to "
                "write only if the stream has not changed since, a body's `token` as Meridian-At-Least to read at least "
                "what it covers. Parameters and conditions that are not listed, and repeated parameters, are refused with "
                "400; so is a path in which an encoded `/` takes the place of a separator."
            ),
        },
        "paths": {
            "/streams/{type}/{id}/value": {"parameters": _STREAM, "get": _value(projections)},
            "/streams/{type}/{id}/history": {"parameters": _STREAM, "get": _history(projections)},
            "/streams/{type}/{id}/events": {"parameters": _STREAM, "get": _changes(), "post": _append()},
            "/streams/{type}/{id}/audit": {"parameters": _STREAM, "get": _audit()},
            "/transactions": {"post": _transaction()},
            "/where": {"get": _where()},
            "/health": {"get": _probe("The process is alive", "alive")},
            "/ready": {"get": _probe("The region's tables can be reached", "ready", {"503": _problem("They cannot")})},
            "/openapi.json": {
                "get": {"summary": "This document", "responses": {"200": _json("OpenAPI", {"type": "object"})}}
            },
        },
        "components": {"schemas": _SCHEMAS},
    }


def _name(limit: int) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": limit}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _header(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": _TEXT, "description": text}


_STREAM = [
    {"name": "type", "in": "path", "required": True, "schema": _name(MAX_TYPE_BYTES), "description": "e.g. user"},
    {"name": "id", "in": "path", "required": True, "schema": _name(MAX_ID_BYTES), "description": "e.g. homer"},
]
_AFTER = _query("after", _TEXT, "Token: return only events that it does not cover")
_LIMIT = _query(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    "Maximum number of entries; a page ends at about 5 MB of JSON, too, and has at least one",
)
_AT_LEAST = _header(
    "Meridian-At-Least", "Token: the answer includes at least what it covers, or is 503 within a bounded time"
)
_SEEN = _header("Meridian-At-Least", "Token of what the writer has observed: the events are ordered after all of it")
_COPIES = _header(
    "Prefer",
    "`copies=2, wait=1` (RFC 7240): answer once two regions hold the events, or a second after they were written here. "
    "Preference-Applied: copies=2 says that they do; fewer are no failure, see `regions` and /where",
)
_EXACTLY = _header("If-Match", "ETags, one of which must match the value, or `*` for any stream with events; otherwise 412")
_CACHED = _header("If-None-Match", "ETags that the client holds, or `*` for any stream with events; 304 if one matches")


def _projection(projections: Mapping[str, type[Projection]]) -> Json:
    served = ", ".join(f"{name} (of {', '.join(each.stream_types)})" for name, each in sorted(projections.items())) or "none"
    return _query("projection", _TEXT, f"Projection to read; required where a stream feeds several. Served here: {served}")


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(text: str, schema: Json, etag: bool = False) -> Json:
    headers: Json = (
        {
            "ETag": {
                "schema": _TEXT,
                "description": "Consistency token, quoted; for a value, followed by .version.digest",
            }
        }
        if etag
        else {}
    )
    return {"description": text, "headers": headers, "content": {"application/json": {"schema": schema}}}


def _problem(text: str) -> Json:
    return {"description": text, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


_READ_PROBLEMS = {
    "400": _problem("Invalid name, parameter or token"),
    "404": _problem("No such path or projection"),
    "503": _problem("The region has not caught up with the token, or does not answer: try again"),
}
_WRITE_PROBLEMS = {
    "400": _problem("Invalid name, header, token or body"),
    "404": _problem("No such path"),
    "409": _problem("Concurrent writes kept conflicting, or a clock is ahead: nothing was written, try again"),
    "412": _problem("A precondition failed: the reasons, and the current token"),
    "413": _problem("Too large"),
    "415": _problem("Not application/json"),
    "422": _problem("Invalid event, or one that a projection could not process"),
    "503": _problem("The region has not caught up with a token, or does not answer: nothing was written"),
    "504": _problem("No answer arrived, so the outcome is unknown. Read the stream, or try again with If-Match"),
}


def _value(projections: Mapping[str, type[Projection]]) -> Json:
    moments = [
        _query("token", _TEXT, "The value as it was at this token"),
        _query("time", _TIME, "The value as it was at this time"),
        _query("sequence", {"type": "integer", "minimum": 0}, "The value after this event of `region`'s lane"),
        _query("region", _TEXT, "The lane of `sequence`"),
    ]
    return {
        "summary": "The stream's value, now or at a moment",
        "parameters": [_projection(projections), *moments, _AT_LEAST, _EXACTLY, _CACHED],
        "responses": {
            "200": _json("The value", _ref("Value"), etag=True),
            "304": {"description": "The client already has it"},
            "412": _problem("The value does not match If-Match: the reasons, and the current ETag"),
            **_READ_PROBLEMS,
        },
    }


def _history(projections: Mapping[str, type[Projection]]) -> Json:
    schema = _object({
        "stream": _TEXT, "history": {"type": "array", "items": _ref("Value")}, "more": {"type": "boolean"}, "token": _TEXT,
    })  # fmt: skip
    return {
        "summary": "The value after each event",
        "parameters": [_projection(projections), _AFTER, _LIMIT, _AT_LEAST],
        "responses": {"200": _json("A page; its token starts the next one", schema), **_READ_PROBLEMS},
    }


def _changes() -> Json:
    schema = _object({
        "stream": _TEXT, "events": {"type": "array", "items": _ref("Event")}, "more": {"type": "boolean"}, "token": _TEXT,
    })  # fmt: skip
    return {
        "summary": "The change feed: events since a token",
        "parameters": [_AFTER, _LIMIT, _AT_LEAST],
        "responses": {"200": _json("A page; its token starts the next one", schema), **_READ_PROBLEMS},
    }


def _audit() -> Json:
    schema = _object({
        "stream": _TEXT, "entries": {"type": "array", "items": _ref("AuditEntry")}, "more": {"type": "boolean"},
        "token": _TEXT,
    })  # fmt: skip
    return {
        "summary": "Who did what and when",
        "parameters": [_AFTER, _LIMIT, _AT_LEAST],
        "responses": {"200": _json("A page; its token starts the next one", schema), **_READ_PROBLEMS},
    }


def _append() -> Json:
    body = _object({"events": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": _ref("NewEvent")}})
    return {
        "summary": "Append events, all or none",
        "parameters": [
            _header("If-Match", "A stream's ETag: append only if it is still there"),
            _header("If-None-Match", "`*`: append only if the stream is empty"),
            _SEEN,
            _COPIES,
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"201": _json("Written", _ref("Saved"), etag=True), **_WRITE_PROBLEMS},
    }


def _transaction() -> Json:
    body = _object({"operations": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": _ref("Operation")}})
    return {
        "summary": "Append to several streams in one transaction",
        "parameters": [_SEEN, _COPIES],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"201": _json("Written", _ref("Saved"), etag=True), **_WRITE_PROBLEMS},
    }


def _where() -> Json:
    return {
        "summary": "Which regions hold everything that a token names",
        "parameters": [{**_query("token", _TEXT, "Token of a read or a write"), "required": True}],
        "responses": {"200": _json("The regions, as they are now", _ref("Where")), **_READ_PROBLEMS},
    }


def _probe(summary: str, status: str, problems: Json | None = None) -> Json:
    schema = _object({"status": {"const": status}, "region": _TEXT})
    return {"summary": summary, "responses": {"200": _json(summary, schema), **(problems or {})}}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_SCHEMAS: Json = {
    "NewEvent": _object(
        {
            "type": _name(MAX_EVENT_TYPE_BYTES),
            "payload": {"type": "object", "description": "I-JSON: integers within 2^53, at most 32 levels deep"},
            "version": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 1},
            "metadata": {**_TEXTS, "description": "who, correlation, causation, and other facts about the event"},
        },
        optional=("version", "metadata"),
    ),
    "Event": _object({
        "id": _TEXT, "region": _TEXT, "sequence": {"type": "integer", "minimum": 1}, "type": _TEXT,
        "version": {"type": "integer"}, "at": _TIME, "payload": {"type": "object"}, "metadata": _TEXTS,
        "observed": _VECTOR, "digest": _TEXT,
    }),
    "Value": _object(
        {
            "stream": _TEXT, "projection": _TEXT, "value": {"type": "object"}, "vector": _VECTOR,
            "at": {"type": ["string", "null"], "format": "date-time"}, "token": _TEXT, "event": _ref("Event"),
        },
        optional=("event",),
    ),
    "AuditEntry": _object({
        "id": _TEXT, "region": _TEXT, "type": _TEXT, "version": {"type": "integer"}, "at": _TIME,
        "who": {"type": ["string", "null"]}, "correlation": {"type": ["string", "null"]},
        "causation": {"type": ["string", "null"]}, "metadata": _TEXTS, "digest": _TEXT,
    }),
    "Operation": _object(
        {
            "stream": {**_TEXT, "description": "type/id"},
            "events": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": _ref("NewEvent")},
            "if_match": {**_TEXT, "description": "a token: only if the stream is still there"},
            "if_empty": {"type": "boolean", "description": "only if the stream is empty"},
        },
        optional=("if_match", "if_empty"),
    ),
    "Saved": _object({
        "events": {"type": "array", "items": _ref("Event")}, "token": _TEXT,
        "regions": {"type": "array", "items": _TEXT, "description": "known to hold the events, this one first"},
    }),
    "Where": _object({
        "held": {"type": "array", "items": _TEXT, "description": "regions that hold everything, for good"},
        "missing": {
            "type": "object", "additionalProperties": _VECTOR,
            "description": "for each region that lacks something: the sequence that it lacks of each lane",
        },
        "unknown": {**_TEXTS, "description": "regions that did not answer, and why"},
    }),
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `type` is urn:meridian:<kind>; some kinds have members of their own",
        "properties": {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT,
            "reasons": {"type": "array", "items": _TEXT}, "token": _TEXT,
            "missing": {"type": "object", "additionalProperties": _VECTOR}, "events": {"type": "array", "items": _TEXT},
        },
        "required": ["type", "title", "status", "detail"],
    },
}  # fmt: skip
