"""Names of AWS's services and their operations, from the models that botocore includes."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader


@cache
def _loader() -> Loader:
    return create_loader()


@cache
def services() -> tuple[str, ...]:
    """Return the names of all services, as the SDK and LocalStack write them."""
    return tuple(_loader().list_available_services("service-2"))


@cache
def model(service: str) -> dict[str, Any]:
    """Return the service's model, or an empty one where there is none of that name."""
    try:
        found: dict[str, Any] = _loader().load_service_model(service, "service-2")
    except BotoCoreError:
        return {"metadata": {}, "operations": {}}
    return found


def operations_of(service: str) -> tuple[str, ...]:
    """Return the names of the service's operations."""
    return tuple(model(service)["operations"])
