"""Name of Meridian's distribution, and its optional dependencies. On PyPI `meridian` itself is an unrelated package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from replicator.domain.errors import InvalidConfig

DISTRIBUTION = "meridian-events"


def install(extra: str) -> str:
    """Return the command that installs the dependencies of an optional part."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@contextmanager
def needed(what: str, extra: str) -> Iterator[None]:
    """Raise InvalidConfig, with the command to run, when a package that `what` needs is missing, or a library of that
    package."""
    try:
        yield
    except ImportError as error:
        raise InvalidConfig(f"{what}, which is missing here ({error}); run: {install(extra)}") from None
