"""The Starlette application: routes, and nothing that knows how a stream is read or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from projectors.api import requests
from projectors.api.openapi import document
from projectors.api.problems import Problem, not_ready, on_error, on_http, on_problem
from projectors.api.service import Answer, Service
from replicator.domain.names import StreamId
from replicator.errors import MeridianError
from replicator.operation import Operation

_READ = {"Cache-Control": "no-cache", "Vary": requests.AT_LEAST}


def application(service: Service) -> Starlette:
    """The API of one region."""
    api = _Api(service)
    read, write = ["GET"], ["POST"]
    app = Starlette(
        routes=[
            Route("/streams/{type}/{id:path}/events", api.events, methods=[*read, *write]),
            Route("/streams/{type}/{id:path}/history", api.history, methods=read),
            Route("/streams/{type}/{id:path}/audit", api.audit, methods=read),
            Route("/streams/{type}/{id:path}/value", api.value, methods=read),
            Route("/transactions", api.transact, methods=write),
            Route("/health", api.health, methods=read),
            Route("/ready", api.ready, methods=read),
            Route("/openapi.json", api.openapi, methods=read),
        ],
        exception_handlers={Problem: on_problem, MeridianError: on_error, HTTPException: on_http},
    )
    app.router.redirect_slashes = False
    return app


class _Api:
    """The endpoints. Whatever may take its time, large bodies read and written too, runs in the thread pool."""

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
            headers = {**_READ, "ETag": f'"{answer.etag}"'}
            if requests.matches(request, headers["ETag"], bool(answer.body["vector"])):
                return Response(status_code=304, headers=headers)
            return JSONResponse(answer.body, headers=headers)

        return await run_in_threadpool(read)

    async def history(self, request: Request) -> Response:
        projection = request.query_params.get("projection")
        return await self._page(request, lambda stream, *rest: self._service.history(stream, projection, *rest))

    async def events(self, request: Request) -> Response:
        return await (self._append(request) if request.method == "POST" else self._page(request, self._service.changes))

    async def audit(self, request: Request) -> Response:
        return await self._page(request, self._service.audit)

    async def _page(self, request: Request, page: Callable[[StreamId, str | None, int, str | None], Answer]) -> Response:
        def read() -> Response:
            after = requests.token_text(request.query_params.get("after"), "after")
            limit = requests.number(request, "limit", 100, 1, requests.MAX_LIMIT)
            answer = page(requests.stream_of(request), after, limit, requests.at_least_of(request))
            return JSONResponse(answer.body, headers=_READ)  # no ETag: `more` may change under one token

        return await run_in_threadpool(read)

    async def _append(self, request: Request) -> Response:
        body = await requests.body_of(request)

        def write() -> Response:
            stream, given = requests.stream_of(request), requests.json_of(body)
            requests.only(given, ("events",))
            condition = requests.precondition_of(request.headers)
            events = requests.events_of(given.get("events"))
            return self._save([Operation(stream, events, condition, requests.at_least_of(request))])

        return await run_in_threadpool(write)

    async def transact(self, request: Request) -> Response:
        body = await requests.body_of(request)

        def write() -> Response:
            return self._save(requests.operations_of(requests.json_of(body), requests.at_least_of(request)))

        return await run_in_threadpool(write)

    def _save(self, operations: Sequence[Operation]) -> Response:
        answer = self._service.save(operations)
        return JSONResponse(answer.body, 201, headers={"ETag": f'"{answer.etag}"'})

    async def health(self, request: Request) -> Response:
        """The process is alive: it asks nothing of the region."""
        return JSONResponse({"status": "alive", "region": self._service.region})

    async def ready(self, request: Request) -> Response:
        """The region's tables can be reached."""
        try:
            await run_in_threadpool(self._service.ready)
        except MeridianError as error:
            raise not_ready(error) from error
        return JSONResponse({"status": "ready", "region": self._service.region})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._service.projections))
