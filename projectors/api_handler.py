"""HTTP API as a Lambda function behind a function URL: the same application, through Mangum."""

from __future__ import annotations

from functools import cache
from typing import Any

from mangum import Mangum

from projectors.api.routes import application
from projectors.connect import connect_service
from projectors.settings import read_projections
from replicator.runtime import logs
from replicator.runtime.settings import read_settings


def handler(event: Any, context: Any) -> Any:
    """Serve one HTTP request, as a function URL delivers it (payload format 2.0)."""
    return _asgi()(event, context)


@cache
def _asgi() -> Mangum:
    logs.configure_logs()
    return Mangum(application(connect_service(read_settings(), read_projections())), lifespan="off")
