"""Problem details (RFC 9457) of errors: every error of Meridian has one type, one status, and says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from projectors.api.paths import route_path
from projectors.model.projection import ProjectionFailed
from replicator.domain.errors import (
    ClockAhead,
    DamagedEvent,
    InvalidConfig,
    InvalidEvent,
    InvalidName,
    InvalidOperation,
    InvalidToken,
    MeridianError,
    RegionUnavailable,
)
from replicator.eventstore.store_errors import AppendContention, NotHereYet, OutcomeUnknown, RegionBehind
from replicator.fencing import RegionFenced

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_MAX_DETAIL = 1_500
"""Maximum characters of a detail: it may quote what was sent."""

# The first match counts: an error's own class stands before those it inherits from.
_PROBLEMS: tuple[tuple[type[MeridianError], str, int], ...] = (
    (DamagedEvent, "damaged", 500),
    (InvalidName, "invalid-name", 400),
    (InvalidToken, "invalid-token", 400),
    (InvalidOperation, "invalid-operation", 400),
    (InvalidEvent, "invalid-event", 422),
    (ProjectionFailed, "cannot-be-projected", 500),
    (ClockAhead, "clock-ahead", 409),
    (AppendContention, "contention", 409),
    (NotHereYet, "not-here-yet", 503),
    (OutcomeUnknown, "outcome-unknown", 504),
    (RegionBehind, "region-behind", 503),
    (RegionFenced, "region-fenced", 503),
    (RegionUnavailable, "region-unavailable", 503),
    (InvalidConfig, "misconfigured", 500),
    (MeridianError, "failed", 500),
)
_RETRY_AFTER = {"contention", "clock-ahead", "not-here-yet", "not-ready", "outcome-unknown", "region-unavailable"}

# Replaces errors whose text may name endpoints, accounts or stored content: those belong in the log.
_PUBLIC = {
    "damaged": "stored data cannot be read; see the region's log",
    "outcome-unknown": "no answer arrived, so the outcome is unknown. Read the stream, or try again with If-Match",
    "region-unavailable": "the region does not answer, or throttles; nothing was written. Try again",
    "region-fenced": "the region does not accept appends now; nothing was written. Use another region",
    "not-ready": "the region's tables cannot be reached; see its log",
    "misconfigured": "the region is misconfigured; see its log",
    "failed": "the region failed; see its log",
}


class Problem(Exception):
    """Error response, raised wherever it is found."""

    def __init__(
        self, kind: str, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail if len(detail) <= _MAX_DETAIL else f"{detail[:_MAX_DETAIL]}…")
        self.kind = kind
        self.status = status
        self.headers = dict(headers or {})
        self.members = members

    @property
    def response(self) -> Response:
        body = {"type": f"urn:meridian:{self.kind}", "title": self.kind.replace("-", " "), "status": self.status}
        headers = {**({"Retry-After": "1"} if self.kind in _RETRY_AFTER else {}), **self.headers}
        return JSONResponse(
            {**body, "detail": str(self), **self.members}, self.status, headers=headers, media_type=MEDIA_TYPE
        )


def of(error: MeridianError) -> Problem:
    """Return the problem for an error."""
    kind, status = next((kind, status) for each, kind, status in _PROBLEMS if isinstance(error, each))
    if isinstance(error, NotHereYet):
        missing = {str(stream): dict(vector.items()) for stream, vector in error.missing.items()}
        return Problem(kind, status, str(error), missing=missing)
    if isinstance(error, OutcomeUnknown):
        return Problem(kind, status, _PUBLIC[kind], events=[event.id for event in error.events])
    return Problem(kind, status, _PUBLIC.get(kind) or _without_payload(error))


def not_ready(error: MeridianError) -> Problem:
    """Return the answer to a probe when the tables cannot be reached."""
    log.warning("api.not_ready", error=_without_payload(error))
    return Problem("not-ready", 503, _PUBLIC["not-ready"])


def _without_payload(error: MeridianError) -> str:
    return error.public if isinstance(error, ProjectionFailed) else str(error)


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response


async def on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MeridianError)
    problem = of(error)
    if problem.status >= 500:
        log.warning("api.failed", path=request.url.path, kind=problem.kind, error=_without_payload(error))
    return problem.response


async def on_http(request: Request, error: Exception) -> Response:
    """Return the problem for what Starlette itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and "%2F" in route_path(request.scope):
        detail = "the path has an encoded '/', which is part of a name and separates nothing; send separators as they are"
        return Problem("invalid-name", 400, detail).response
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
    return Problem(kind, error.status_code, error.detail, error.headers).response
