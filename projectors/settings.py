"""Settings of the projectors, all read here; the rest are the replicator's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

from projectors.model.projection import Projection
from projectors.sinks.address import DYNAMODB, name_of
from replicator.domain.errors import InvalidConfig
from replicator.runtime.environment import given
from replicator.runtime.plugins import load

_PASSWORD = re.compile(r"[^=]*pass[^=]*=", re.IGNORECASE)


def read_projections(
    names: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[type[Projection]]:
    """Return the projections named by `names`, or else by MERIDIAN_PROJECTIONS (separated by commas)."""
    return load_projections(names or _named(environment))


def given_projections(
    names: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[type[Projection]]:
    """Return the same as read_projections, or an empty list when none is named, for callers that need none."""
    return load_projections(chosen) if (chosen := names or _named(environment)) else []


def _named(environment: Mapping[str, str]) -> list[str]:
    return [name.strip() for name in given("MERIDIAN_PROJECTIONS", environment).split(",") if name.strip()]


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
    """Return the projection `name` of that version, or of the highest. Raises InvalidConfig naming those that exist."""
    fitting = {each.version: each for each in projections if each.name == name}
    if not fitting or (version is not None and version not in fitting):
        wanted = name if version is None else f"{name}@{version}"
        given = ", ".join(sorted(f"{each.name}@{each.version}" for each in projections))
        raise InvalidConfig(f"projection {wanted!r} is not one of those loaded ({given}); name its class with --projection")
    return fitting[max(fitting) if version is None else version]


def read_sinks(addresses: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the addresses of the sinks: `addresses`, or else MERIDIAN_SINKS (separated by white space), or else
    DynamoDB."""
    found = list(addresses or ()) or named_sinks(environment) or [DYNAMODB]
    known: set[str] = set()
    for each in found:
        if sink_id(each) in known:
            raise InvalidConfig(f"a sink is named twice ({name_of(each)}); name each once")
        known.add(sink_id(each))
    return found


def named_sinks(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the addresses in MERIDIAN_SINKS."""
    return given("MERIDIAN_SINKS", environment).split()


def sink_id(address: str) -> str:
    """Return the id under which a sink's data is kept: the name that logs show, and, if the address says more (a user,
    options), a short hash of it. Passwords are left out of the hash, so changing one changes nothing."""
    name = name_of(address)
    scheme, separator, rest = address.partition("://")
    login, at, place = rest.rpartition("@")
    where, mark, options = place.partition("?")
    kept = "&".join(each for each in options.split("&") if not _PASSWORD.match(each))
    whole = f"{scheme}{separator}{login.partition(':')[0]}{at}{where}{mark if kept else ''}{kept}"
    return name if whole == name else f"{name}~{sha256(whole.encode()).hexdigest()[:8]}"
