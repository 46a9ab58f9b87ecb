"""The name under which Meridian is installed, and what its optional parts need. `meridian` itself is somebody else's package
on PyPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from replicator.domain.errors import InvalidConfig

DISTRIBUTION = "meridian-events"


def install(extra: str) -> str:
    """The command that installs what an optional part needs."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@contextmanager
def needed(what: str, extra: str) -> Iterator[None]:
    """Raise InvalidConfig, with the command to run, where a package is missing that `what` needs, or a library of its."""
    try:
        yield
    except ImportError as error:
        raise InvalidConfig(f"{what}, which is missing here ({error}); run: {install(extra)}") from None
