"""Starlette application: routes, and nothing that knows how a stream is read or written."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from projectors.api import requests
from projectors.api.openapi import document
from projectors.api.paths import route_path
from projectors.api.problems import Problem, not_ready, on_error, on_http, on_problem
from projectors.api.service import Answer, Service
from replicator.domain.errors import MeridianError
from replicator.domain.names import StreamId
from replicator.eventstore.operations import Operation

_READ = {"Cache-Control": "no-cache", "Vary": requests.AT_LEAST}
_NOW = {"Cache-Control": "no-store"}
_DIGEST_CHARACTERS = 16
"""Characters of the body's SHA-256 in base64url in an ETag: 96 bits distinguish bodies of one token."""
_MOMENTS = ("projection", "token", "time", "sequence", "region")
_PAGE = ("after", "limit")
_BOTH = (requests.IF_MATCH, requests.IF_NONE_MATCH)
_NO_ETAG = "this answer has no ETag: omit the header, and use `token`"
_OF_A_MEMBER = "set if_match (a token) or if_empty on each operation of the body"
_NO_TIMES = "streams have no modification time: use If-Match or If-None-Match"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Endpoint for one method of a path: the query parameters that it takes, the conditional headers that it judges, and
    what clients should use in place of the others."""

    answer: Callable[[Request], Awaitable[Response]]
    parameters: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    instead: str = _NO_ETAG


class Resource(Route):
    """Path with an endpoint for each method. It is matched as it was sent, so an encoded `/` separates nothing."""

    def __init__(self, path: str, **endpoints: Endpoint) -> None:
        self.endpoints: Mapping[str, Endpoint] = endpoints
        super().__init__(path, self._answer, methods=list(endpoints))

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        return super().matches({**scope, "path": route_path(scope)})

    async def _answer(self, request: Request) -> Response:
        endpoint = self.endpoints["GET" if request.method == "HEAD" else request.method]
        requests.check_parameters(request, endpoint.parameters)
        requests.check_conditions(request, endpoint.conditions, endpoint.instead)
        return await endpoint.answer(request)


def application(service: Service) -> Starlette:
    """Return the API of one region."""
    api = _Api(service)
    app = Starlette(
        routes=[
            Resource(
                "/streams/{type}/{id:path}/events",
                GET=Endpoint(api.events, _PAGE),
                POST=Endpoint(api.append, conditions=_BOTH, instead=_NO_TIMES),
            ),
            Resource("/streams/{type}/{id:path}/history", GET=Endpoint(api.history, ("projection", *_PAGE))),
            Resource("/streams/{type}/{id:path}/audit", GET=Endpoint(api.audit, _PAGE)),
            Resource("/streams/{type}/{id:path}/value", GET=Endpoint(api.value, _MOMENTS, _BOTH)),
            Resource("/transactions", POST=Endpoint(api.transact, instead=_OF_A_MEMBER)),
            Resource("/where", GET=Endpoint(api.where, ("token",))),
            Resource("/health", GET=Endpoint(api.health)),
            Resource("/ready", GET=Endpoint(api.ready)),
            Resource("/openapi.json", GET=Endpoint(api.openapi)),
        ],
        exception_handlers={Problem: on_problem, MeridianError: on_error, HTTPException: on_http},
    )
    app.router.redirect_slashes = False
    return app


class _Api:
    """Endpoints of the API. All that may take long, large bodies read and written too, runs in the thread pool."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def value(self, request: Request) -> Response:
        def read() -> Response:
            answer = self._service.value(
                requests.stream_of(request),
                request.query_params.get("projection"),
                requests.moment_of(request),
                requests.at_least_of(request),
            )
            response, exists = JSONResponse(answer.body, headers=_READ), bool(answer.body["vector"])
            digest = urlsafe_b64encode(sha256(response.body).digest()).decode()[:_DIGEST_CHARACTERS]
            # Forgetting changes a value under the same token: the tag is of the bytes.
            etag = response.headers["ETag"] = f'"{answer.token}.{answer.version}.{digest}"'
            if requests.changed(request, etag, exists):
                detail = f"the value does not match {requests.IF_MATCH}: read it again"
                raise Problem("precondition-failed", 412, detail, {"ETag": etag}, reasons=[detail], token=answer.token)
            if requests.matches(request, etag, exists):
                return Response(status_code=304, headers={**_READ, "ETag": etag})
            return response

        return await run_in_threadpool(read)

    async def history(self, request: Request) -> Response:
        projection = request.query_params.get("projection")
        return await self._page(request, lambda stream, *rest: self._service.history(stream, projection, *rest))

    async def events(self, request: Request) -> Response:
        return await self._page(request, self._service.changes)

    async def audit(self, request: Request) -> Response:
        return await self._page(request, self._service.audit)

    async def _page(self, request: Request, page: Callable[[StreamId, str | None, int, str | None], Answer]) -> Response:
        def read() -> Response:
            after = requests.token_text(request.query_params.get("after"), "after")
            limit = requests.number(request, "limit", 100, 1, requests.MAX_LIMIT)
            answer = page(requests.stream_of(request), after, limit, requests.at_least_of(request))
            return JSONResponse(answer.body, headers=_READ)  # no ETag: `more` may change under one token

        return await run_in_threadpool(read)

    async def append(self, request: Request) -> Response:
        body = await requests.body_of(request)

        def write() -> Response:
            stream, given = requests.stream_of(request), requests.json_of(body)
            requests.only(given, ("events",))
            condition = requests.precondition_of(request)
            events = requests.events_of(given.get("events"))
            operation = Operation(stream, events, condition, requests.at_least_of(request))
            return self._save(request, [operation])

        return await run_in_threadpool(write)

    async def transact(self, request: Request) -> Response:
        body = await requests.body_of(request)

        def write() -> Response:
            return self._save(request, requests.operations_of(requests.json_of(body), requests.at_least_of(request)))

        return await run_in_threadpool(write)

    def _save(self, request: Request, operations: Sequence[Operation]) -> Response:
        copies, within = requests.copies_of(request)
        answer = self._service.save(operations, copies, within)
        headers = {"ETag": f'"{answer.token}"'}
        if copies is not None and len(answer.body["regions"]) >= copies:
            headers["Preference-Applied"] = f"copies={copies}"
        return JSONResponse(answer.body, 201, headers=headers)

    async def where(self, request: Request) -> Response:
        token = requests.token_text(request.query_params.get("token"), "token")
        if token is None:
            raise Problem("bad-request", 400, "no token; give one as a read or a write returned it")
        return await run_in_threadpool(lambda: JSONResponse(self._service.where(token), headers=_NOW))

    async def health(self, request: Request) -> Response:
        """Answer that the process is alive, without any call to the region."""
        return JSONResponse({"status": "alive", "region": self._service.region})

    async def ready(self, request: Request) -> Response:
        """Answer whether the region's tables can be reached."""
        try:
            await run_in_threadpool(self._service.ready)
        except MeridianError as error:
            raise not_ready(error) from error
        return JSONResponse({"status": "ready", "region": self._service.region})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._service.projections))
