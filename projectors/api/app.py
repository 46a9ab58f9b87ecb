"""The Starlette application: routes, and nothing that knows how a stream is read or written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from projectors.api import requests
from projectors.api.openapi import document
from projectors.api.problems import Problem, of, on_error, on_http, on_problem
from projectors.api.service import Answer, Service
from replicator.errors import MeridianError
from replicator.operation import Operation


def application(service: Service) -> Starlette:
    """The API of one region."""
    api = _Api(service)
    paths: list[tuple[str, Callable[[Request], Any], str]] = [
        ("/streams/{type}/{id:path}/events", api.events, "GET"),
        ("/streams/{type}/{id:path}/events", api.append, "POST"),
        ("/streams/{type}/{id:path}/history", api.history, "GET"),
        ("/streams/{type}/{id:path}/audit", api.audit, "GET"),
        ("/streams/{type}/{id:path}/value", api.value, "GET"),
        ("/transactions", api.transact, "POST"),
        ("/health", api.health, "GET"),
        ("/ready", api.ready, "GET"),
        ("/openapi.json", api.openapi, "GET"),
    ]
    return Starlette(
        routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in paths],
        exception_handlers={Problem: on_problem, MeridianError: on_error, HTTPException: on_http},
    )


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def value(self, request: Request) -> Response:
        answer = await run_in_threadpool(
            self._service.value,
            requests.stream_of(request),
            request.query_params.get("projection"),
            requests.moment_of(request),
            requests.at_least_of(request),
        )
        return _with_etag(request, answer)

    async def history(self, request: Request) -> Response:
        answer = await run_in_threadpool(
            self._service.history,
            requests.stream_of(request),
            request.query_params.get("projection"),
            requests.token_text(request.query_params.get("after"), "after"),
            _limit(request),
        )
        return _with_etag(request, answer)

    async def events(self, request: Request) -> Response:
        return await self._page(request, self._service.changes)

    async def audit(self, request: Request) -> Response:
        return await self._page(request, self._service.audit)

    async def _page(self, request: Request, read: Callable[[Any, str | None, int], Answer]) -> Response:
        after = requests.token_text(request.query_params.get("after"), "after")
        return _with_etag(request, await run_in_threadpool(read, requests.stream_of(request), after, _limit(request)))

    async def append(self, request: Request) -> Response:
        stream = requests.stream_of(request)
        body = await requests.json_of(request)
        requests.only(body, ("events",))
        condition = requests.precondition_of(request.headers)
        operation = Operation(stream, requests.events_of(body.get("events")), condition, requests.at_least_of(request))
        return _created(await run_in_threadpool(self._service.save, [operation]))

    async def transact(self, request: Request) -> Response:
        body = await requests.json_of(request)
        operations = requests.operations_of(body, requests.at_least_of(request))
        return _created(await run_in_threadpool(self._service.save, operations))

    async def health(self, request: Request) -> Response:
        """The process is alive: it asks nothing of the region."""
        return JSONResponse({"status": "alive", "region": self._service.region})

    async def ready(self, request: Request) -> Response:
        """The region's tables can be reached."""
        try:
            await run_in_threadpool(self._service.ready)
        except MeridianError as error:
            raise Problem("not-ready", 503, str(of(error))) from error
        return JSONResponse({"status": "ready", "region": self._service.region})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._service.projections))


def _limit(request: Request) -> int:
    return requests.number(request, "limit", 100, 1, requests.MAX_LIMIT)


def _with_etag(request: Request, answer: Answer) -> Response:
    etag = f'"{answer.token}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if requests.matches(request, etag):
        return Response(status_code=304, headers=headers)
    return JSONResponse(answer.body, headers=headers)


def _created(answer: Answer) -> Response:
    return JSONResponse(answer.body, 201, headers={"ETag": f'"{answer.token}"'})
