"""Settings of the replicator, read in this one place: MERIDIAN_* environment variables, overridden by options."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from replicator.domain.errors import InvalidConfig, InvalidName
from replicator.domain.names import check_region
from replicator.runtime.environment import given

EXTERNAL_LANES = ("all", "own")
_MIN_KEY_BYTES = 32
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a process: its region, its peers and their endpoints.

    `region` is this process's own region, `peers` the others (each region knows its peers by name only), `prefix` begins
    every table's name, `endpoints` maps a region to the URL of an emulator (none on AWS). Times are in seconds. `retired`
    are regions that no longer run Meridian and whose lanes are still read: nothing is copied to them. `optimistic_claims`
    are the stream types that are claimed by the optimistic rule, and `compensation` names the function that makes the
    compensating events of the losers' streams (module:function): docs/decisions/0011. `token_keys` seal consistency tokens,
    the same in all regions; the first one signs, all are accepted: docs/decisions/0010. `personal_key` wraps the keys of
    personal data: a KMS key's id, ARN or alias, or `file:` and a path: docs/decisions/0014. `external` names the
    transformation to external events as `module:Class` (empty: nothing is published), and `external_lanes` selects the lanes
    published here: "all" that arrive, or this region's "own": docs/decisions/0013. `fence_checked` are the stream types
    whose appends check the region's fence in their own transaction ("*": all); others notice a change within `fence_lease`
    seconds: docs/decisions/0020. `shard_lease` is the time after which the shards of a worker that is not heard of are taken
    over: docs/decisions/0036. `heartbeat` is the time from one heartbeat event of the region's workers to the next (0:
    none): docs/decisions/0040. `roles` maps a region in another account to the ARN of the role that is assumed to reach it:
    docs/decisions/0041. `copies` maps a stream type ("*": every other one) to the number of regions that an append waits
    for: docs/decisions/0042.
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
    retired: tuple[str, ...] = ()
    token_keys: tuple[bytes, ...] = field(default=(), repr=False)
    optimistic_claims: tuple[str, ...] = ()
    compensation: str = ""
    personal_key: str = ""
    external: str = ""
    external_lanes: str = "all"
    fence_checked: tuple[str, ...] = ()
    fence_lease: float = 2.0
    shard_lease: float = 10.0
    heartbeat: float = 60.0
    roles: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            for region in (self.region, *self.peers, *self.endpoints, *self.retired, *self.roles):
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
        for region, role in self.roles.items():
            if not _ROLE.fullmatch(role):
                raise InvalidConfig(
                    f"role {role!r} of {region} is not the ARN of a role; write 'arn:aws:iam::123456789012:role/NAME'"
                )
        for kind, copies in self.copies.items():
            if not 1 <= copies <= 1 + len(self.peers):
                raise InvalidConfig(
                    f"{copies} copies of {kind!r}; give 1 to {1 + len(self.peers)}, the number of regions that run"
                )
        for name in ("connect_timeout", "read_timeout", "poll_interval", "fence_lease", "shard_lease"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} is {getattr(self, name)}; give seconds above 0")
        if not (self.heartbeat == 0 or 1 <= self.heartbeat <= 3600):
            raise InvalidConfig(f"heartbeat is {self.heartbeat:g}; give 1 to 3600 seconds, or 0 for none")
        if self.external_lanes not in EXTERNAL_LANES:
            raise InvalidConfig(f"external_lanes is {self.external_lanes!r}; choose from {', '.join(EXTERNAL_LANES)}")
        if self.attempts < 1 or not 1 <= self.batch_size <= 1000:
            raise InvalidConfig("attempts must be at least 1, and batch_size from 1 to 1000")

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that has or had lanes, in name order."""
        return tuple(sorted({self.region, *self.peers, *self.retired}))

    @property
    def events_table(self) -> str:
        """Name of the table of events."""
        return f"{self.prefix}-events"

    @property
    def control_table(self) -> str:
        """Name of the table of control state."""
        return f"{self.prefix}-control"

    @property
    def views_table(self) -> str:
        """Name of the table of views."""
        return f"{self.prefix}-views"

    @property
    def keys_table(self) -> str:
        """Name of the table of personal data keys. A table of its own: keys can be deleted, events never."""
        return f"{self.prefix}-keys"

    @property
    def bus_stream(self) -> str:
        """Name of the Kinesis stream that DynamoDB feeds with every change of the events table: raw, internal."""
        return f"{self.prefix}-events"

    @property
    def external_stream(self) -> str:
        """Name of the Kinesis stream of external events."""
        return f"{self.prefix}-external"

    def at(self, region: str) -> Settings:
        """Return the same system's settings for another of its regions."""
        others = tuple(other for other in (self.region, *self.peers) if other != region)
        return replace(self, region=region, peers=others)

    @property
    def hasty(self) -> Settings:
        """Settings for requests that an unresponsive region must not delay: one attempt, seconds at most."""
        return replace(self, attempts=1, connect_timeout=min(1.0, self.connect_timeout), read_timeout=2.0)

    def endpoint(self, region: str) -> str | None:
        """Return the URL to use for `region`, or None for AWS's own."""
        return self.endpoints.get(region)


def read_settings(
    environment: Mapping[str, str] = os.environ,
    *,
    region: str | None = None,
    peers: str | None = None,
    prefix: str | None = None,
    endpoints: str | None = None,
) -> Settings:
    """Read settings from the MERIDIAN_* variables (docs/settings.md); arguments that are not None override them.

    An empty variable counts as unset. Raises InvalidConfig with the value and the remedy.
    """

    def pick(option: str | None, name: str, default: str = "") -> str:
        return option if option is not None else given(name, environment) or default

    own = pick(region, "MERIDIAN_REGION", given("AWS_REGION", environment))
    if not own:
        raise InvalidConfig("no region given; pass --region or set MERIDIAN_REGION, for example us-east-1")
    return Settings(
        region=own,
        peers=tuple(p.strip() for p in pick(peers, "MERIDIAN_PEERS").split(",") if p.strip() and p.strip() != own),
        prefix=pick(prefix, "MERIDIAN_PREFIX", "meridian"),
        endpoints=_pairs(pick(endpoints, "MERIDIAN_ENDPOINTS"), "endpoint", "http://127.0.0.1:4566"),
        connect_timeout=_number("MERIDIAN_CONNECT_TIMEOUT", environment, 2.0),
        read_timeout=_number("MERIDIAN_READ_TIMEOUT", environment, 5.0),
        attempts=_whole("MERIDIAN_ATTEMPTS", environment, 3),
        poll_interval=_number("MERIDIAN_POLL_INTERVAL", environment, 0.25),
        personal_key=given("MERIDIAN_PERSONAL_KEY", environment),
        optimistic_claims=_list(given("MERIDIAN_OPTIMISTIC_CLAIMS", environment)),
        compensation=given("MERIDIAN_COMPENSATION", environment),
        token_keys=_keys(given("MERIDIAN_TOKEN_KEYS", environment)),
        retired=_list(given("MERIDIAN_RETIRED", environment)),
        external=given("MERIDIAN_EXTERNAL", environment),
        external_lanes=given("MERIDIAN_EXTERNAL_LANES", environment) or "all",
        fence_checked=_list(given("MERIDIAN_FENCE_CHECKED", environment)),
        fence_lease=_number("MERIDIAN_FENCE_LEASE", environment, 2.0),
        shard_lease=_number("MERIDIAN_SHARD_LEASE", environment, 10.0),
        heartbeat=_number("MERIDIAN_HEARTBEAT", environment, 60.0),
        roles=_pairs(given("MERIDIAN_ROLES", environment), "role", "arn:aws:iam::123456789012:role/NAME"),
        copies=_copies(given("MERIDIAN_COPIES", environment)),
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _keys(text: str) -> tuple[bytes, ...]:
    keys = tuple(key.strip().encode() for key in text.split(",") if key.strip())
    if any(len(key) < _MIN_KEY_BYTES for key in keys):  # the value itself is not shown: it is a secret
        raise InvalidConfig(
            f"a key in MERIDIAN_TOKEN_KEYS is shorter than {_MIN_KEY_BYTES} bytes; use `openssl rand -hex 32`"
        )
    return keys


def _pairs(text: str, noun: str, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        region, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise InvalidConfig(f"{noun} {item!r} has no region; write 'us-east-1={example}'")
        if region in pairs:
            raise InvalidConfig(f"region {region} has two {noun}s, {pairs[region]} and {value}; leave one out")
        pairs[region] = value
    return pairs


def _copies(text: str) -> dict[str, int]:
    copies: dict[str, int] = {}
    for item in _list(text):
        kind, equals, number = (part.strip() for part in item.partition("="))
        if not (kind and equals and re.fullmatch("[0-9]{1,3}", number)):
            raise InvalidConfig(f"{item!r} in MERIDIAN_COPIES is not a stream type and a number; write 'account=2'")
        if kind in copies:
            raise InvalidConfig(f"{kind!r} is in MERIDIAN_COPIES twice; leave one out")
        copies[kind] = int(number)
    return copies


def _number(name: str, environment: Mapping[str, str], default: float) -> float:
    text = given(name, environment)
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidConfig(f"{name} is {text!r}; give a number")
    return value


def _whole(name: str, environment: Mapping[str, str], default: int) -> int:
    value = _number(name, environment, default)
    if value != int(value):
        raise InvalidConfig(f"{name} is {value}; give a whole number")
    return int(value)
