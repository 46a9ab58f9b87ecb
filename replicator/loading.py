"""Finding what settings name as `module:Name`: projections, transformations, compensations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from replicator.errors import InvalidConfig


def load(what: str, name: str) -> Any:
    """Import what `name` names; `what` says in the error what it is. Raises InvalidConfig for what cannot be loaded."""
    module, _, attribute = name.partition(":")
    if not (module and attribute) or module.startswith("."):
        raise InvalidConfig(f"{what} {name!r} is not of the form 'package.module:Name'")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidConfig(f"{what} {name!r} cannot be loaded: {error}") from None
