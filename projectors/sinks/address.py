"""Addresses of sinks: their names, and their form without passwords."""

from __future__ import annotations

import re

from replicator.domain.errors import InvalidConfig

DYNAMODB, MEMORY = "dynamodb", "memory"
POSTGRESQL = ("postgresql", "postgres")
REDIS = ("redis", "rediss")
SEARCH = ("opensearch+http", "opensearch+https")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}", re.IGNORECASE)


def name_of(address: str) -> str:
    """Return an address as logs and errors show it: without user, password and options, whatever is wrong with it."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address if _SCHEME.fullmatch(address) else "…"
    if not _SCHEME.fullmatch(scheme):
        return "…"
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(place) :]:  # what looks like options may be the rest of a password
        return f"{scheme}://…"
    return f"{scheme}://{place.rpartition('@')[2]}"


def checked(address: str) -> str:
    """Return an address's name. Raises InvalidConfig when it is unclear where the password ends, so that a part of it would
    be taken for the host and shown."""
    _, _, rest = address.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if authority.count("@") > 1 or "@" in rest[len(authority) :]:
        raise InvalidConfig(
            f"the address of the sink {name_of(address)} cannot be read: it has an '@' in the wrong place. Percent-encode "
            "special characters in user and password: %40 for '@', %2F for '/', %3F for '?', %23 for '#'"
        )
    return name_of(address)


def scheme_of(address: str) -> str:
    """Return an address's scheme in lower case, empty if it has none."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""
