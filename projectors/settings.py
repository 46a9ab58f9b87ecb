"""The one place where the projectors' own settings are read; the rest are the replicator's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from projectors.projection import Projection
from replicator.errors import InvalidConfig
from replicator.loading import load


def read_projections(
    names: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[type[Projection]]:
    """The projections named by `names`, or else by MERIDIAN_PROJECTIONS (separated by commas)."""
    chosen = names or [n.strip() for n in environment.get("MERIDIAN_PROJECTIONS", "").split(",") if n.strip()]
    return load_projections(chosen)


def load_projections(names: Sequence[str]) -> list[type[Projection]]:
    """Import projections named `module:Class`. Raises InvalidConfig naming what is wrong."""
    found: list[type[Projection]] = []
    for name in names:
        value = load("projection", name)
        if not (isinstance(value, type) and issubclass(value, Projection) and value is not Projection):
            raise InvalidConfig(f"{name!r} is not a subclass of projectors.Projection")
        found.append(value)
    if not found:
        raise InvalidConfig("no projection given; pass --projection module:Class or set MERIDIAN_PROJECTIONS")
    if len({projection.name for projection in found}) != len(found):
        raise InvalidConfig("two projections share a name; names decide where views are stored")
    return found
