"""The one place where the replicator's settings are read: MERIDIAN_* environment variables, overridden by options."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from replicator.domain.names import check_region
from replicator.errors import InvalidConfig, InvalidName

WRITE_WITH = ("inserts", "puts")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a process runs and whom it talks to.

    `region` is this process's own region, `peers` the others (each region knows its peers by name only), `prefix`
    begins every table's name, `endpoints` maps a region to the URL of an emulator (none on AWS). Times are seconds.
    `retired` are regions that no longer run Meridian and whose lanes are still read: nothing is copied to them.
    `write_with` is how events are written: "inserts" (PartiQL INSERT, which IAM can allow without allowing to replace
    anything) or "puts" (conditional puts; for emulators whose streams leave PartiQL writes out): docs/decisions/0003.
    """

    region: str
    peers: tuple[str, ...] = ()
    prefix: str = "meridian"
    endpoints: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    attempts: int = 3
    poll_interval: float = 0.25
    batch_size: int = 1000
    write_with: str = "inserts"
    retired: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            for region in (self.region, *self.peers, *self.endpoints, *self.retired):
                check_region(region)
        except InvalidName as error:
            raise InvalidConfig(str(error)) from None
        if self.region in self.peers:
            raise InvalidConfig(f"region {self.region} is named as its own peer; list only the other regions")
        if len(set(self.peers)) != len(self.peers):
            raise InvalidConfig(f"a peer is named twice in {', '.join(self.peers)}")
        if both := {self.region, *self.peers} & set(self.retired):
            raise InvalidConfig(f"{', '.join(sorted(both))} is named both as retired and as running; name it once")
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidConfig(f"prefix {self.prefix!r} cannot begin a table's name; use letters, digits, '_', '.', '-'")
        for region, url in self.endpoints.items():
            try:
                parts = urlsplit(url)
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidConfig(f"endpoint {url!r} of {region} is not a URL; write 'http://127.0.0.1:4566'")
        for name in ("connect_timeout", "read_timeout", "poll_interval"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} is {getattr(self, name)}; give seconds above 0")
        if self.write_with not in WRITE_WITH:
            raise InvalidConfig(f"write_with is {self.write_with!r}; choose from {', '.join(WRITE_WITH)}")
        if self.attempts < 1 or not 1 <= self.batch_size <= 1000:
            raise InvalidConfig("attempts must be at least 1, and batch_size from 1 to 1000")

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that has or had lanes, in name order."""
        return tuple(sorted({self.region, *self.peers, *self.retired}))

    @property
    def events_table(self) -> str:
        return f"{self.prefix}-events"

    @property
    def control_table(self) -> str:
        return f"{self.prefix}-control"

    @property
    def views_table(self) -> str:
        return f"{self.prefix}-views"

    def endpoint(self, region: str) -> str | None:
        """The URL to use for `region`, or None for AWS's own."""
        return self.endpoints.get(region)


def read_settings(
    environment: Mapping[str, str] = os.environ,
    *,
    region: str | None = None,
    peers: str | None = None,
    prefix: str | None = None,
    endpoints: str | None = None,
) -> Settings:
    """Settings from MERIDIAN_REGION, _PEERS, _RETIRED, _PREFIX, _ENDPOINTS, _CONNECT_TIMEOUT, _READ_TIMEOUT, _ATTEMPTS,
    _POLL_INTERVAL and _WRITE_WITH; arguments that are not None win. Raises InvalidConfig naming the value and the remedy.
    """

    def pick(option: str | None, name: str, default: str = "") -> str:
        return option if option is not None else environment.get(f"MERIDIAN_{name}", default)

    own = pick(region, "REGION", environment.get("AWS_REGION", ""))
    if not own:
        raise InvalidConfig("no region given; pass --region or set MERIDIAN_REGION, for example us-east-1")
    return Settings(
        region=own,
        peers=tuple(p.strip() for p in pick(peers, "PEERS").split(",") if p.strip() and p.strip() != own),
        prefix=pick(prefix, "PREFIX", "meridian"),
        endpoints=_endpoints(pick(endpoints, "ENDPOINTS")),
        connect_timeout=_number(environment, "CONNECT_TIMEOUT", 2.0),
        read_timeout=_number(environment, "READ_TIMEOUT", 5.0),
        attempts=_whole(environment, "ATTEMPTS", 3),
        poll_interval=_number(environment, "POLL_INTERVAL", 0.25),
        write_with=environment.get("MERIDIAN_WRITE_WITH", "inserts"),
        retired=tuple(r.strip() for r in environment.get("MERIDIAN_RETIRED", "").split(",") if r.strip()),
    )


def _endpoints(text: str) -> dict[str, str]:
    pairs = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        region, equals, url = item.partition("=")
        if not equals:
            raise InvalidConfig(f"endpoint {item!r} has no region; write 'us-east-1=http://127.0.0.1:4566'")
        pairs[region] = url
    return pairs


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(f"MERIDIAN_{name}", "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidConfig(f"MERIDIAN_{name} is {text!r}; give a number")
    return value


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    value = _number(environment, name, default)
    if value != int(value):
        raise InvalidConfig(f"MERIDIAN_{name} is {value}; give a whole number")
    return int(value)
