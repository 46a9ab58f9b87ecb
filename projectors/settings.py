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
    if len({(projection.name, projection.version) for projection in found}) != len(found):
        raise InvalidConfig("two projections share a name and a version; they decide where views are stored")
    return found


def find_projection(projections: Sequence[type[Projection]], name: str, version: int | None = None) -> type[Projection]:
    """The one called `name`, of that version or of the highest. Raises InvalidConfig naming those there are."""
    fitting = {each.version: each for each in projections if each.name == name}
    if not fitting or (version is not None and version not in fitting):
        wanted = name if version is None else f"{name}@{version}"
        given = ", ".join(sorted(f"{each.name}@{each.version}" for each in projections))
        raise InvalidConfig(f"projection {wanted!r} is none of those loaded ({given}); name its class with --projection")
    return fitting[max(fitting) if version is None else version]


def read_sinks(addresses: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Where views are kept: `addresses`, or else MERIDIAN_SINKS (separated by white space), or else DynamoDB."""
    found = list(addresses or ()) or environment.get("MERIDIAN_SINKS", "").split() or ["dynamodb"]
    if len(set(found)) != len(found):
        raise InvalidConfig("a sink is named twice; name each once")
    return found
