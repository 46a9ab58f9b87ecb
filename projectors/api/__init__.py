"""HTTP API: streams and their values as resources, tokens as ETags. A Starlette application: docs/decisions/0015."""

from projectors.api.routes import application
from projectors.api.service import Service

__all__ = ["Service", "application"]
