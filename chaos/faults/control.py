"""Control of a fault engine, ours or LocalStack's, and the process of ours."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from chaos.child_processes import Process, free_ports
from chaos.faults.proxy import HOST
from chaos.faults.record_orders import EFFECTS, FAULTS, TOLD
from chaos.faults.rules import Rule, for_localstack, parse_rules
from replicator.domain.errors import InvalidConfig, MeridianError

_ASK_SECONDS = 10.0
_START_SECONDS = 20.0
_opener = build_opener(ProxyHandler({}))


class EngineUnavailable(MeridianError):
    """Error: no fault engine answers at the URL."""


@dataclass(frozen=True, slots=True)
class Told:
    """Effects of a rule: `seen` requests that matched it, `struck` of them, `by` service, operation and region."""

    rule: Rule
    seen: int
    struck: int
    by: Mapping[str, int]
    active: bool


class Faults:
    """Client of an engine at a URL: our proxy, or LocalStack itself. All methods raise EngineUnavailable, and
    InvalidConfig."""

    def __init__(self, url: str, *, localstack: bool = False, timeout: float = _ASK_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._localstack = localstack
        self._timeout = timeout

    def set(self, rules: Iterable[Rule | Mapping[str, Any]]) -> list[tuple[Rule, str]]:
        """Replace all rules by these. Returns those that the engine cannot do, each with the reason (ours: none)."""
        parsed = _parsed(rules)
        if not self._localstack:
            self._ask("POST", FAULTS, [rule.as_json() for rule in parsed])
            return []
        able, unable = for_localstack(parsed)
        self._ask("POST", FAULTS, able)
        return unable

    def add(self, rules: Iterable[Rule | Mapping[str, Any]]) -> list[tuple[Rule, str]]:
        """Add these rules behind those that are set. Returns as `set`."""
        parsed = _parsed(rules)
        able, unable = for_localstack(parsed) if self._localstack else ([rule.as_json() for rule in parsed], [])
        self._ask("PATCH", FAULTS, able)
        return unable

    def remove(self, rules: Iterable[Rule | Mapping[str, Any]]) -> None:
        """Remove these rules, which are set: of equal rules one for each. The others go on as they are, with their counts so
        far. Raises InvalidConfig, and removes none, when one of them is not set."""
        parsed = _parsed(rules)
        self._ask("DELETE", FAULTS, for_localstack(parsed)[0] if self._localstack else [rule.as_json() for rule in parsed])

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that are set."""
        return parse_rules(self._ask("GET", FAULTS), self.url)

    def clear(self) -> None:
        """Remove all faults and all latency. Shards that were split stay split."""
        self._ask("POST", FAULTS, [])
        self.effects(0)

    def effects(self, latency: float) -> None:
        """Delay every request by `latency` milliseconds."""
        self._ask("POST", EFFECTS, {"latency": int(latency)})

    def told(self) -> list[Told]:
        """Return the effects of each rule, also of those that were removed. Empty for LocalStack, which does not report
        them."""
        if self._localstack:
            return []
        return [
            Told(parse_rules([each["rule"]])[0], each["seen"], each["struck"], each["by"], each["active"])
            for each in self._ask("GET", TOLD)
        ]

    def _ask(self, method: str, path: str, value: Any = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        request = Request(self.url + path, body, {"content-type": "application/json"}, method=method)
        try:
            with _opener.open(request, timeout=self._timeout) as answer:
                text = answer.read()
        except HTTPError as error:
            told = error.read().decode(errors="replace").strip()
            raise InvalidConfig(f"{self.url}{path} answered {error.code}: {_reason(told)}") from None
        except (URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise EngineUnavailable(
                f"no response from a fault engine at {self.url} ({why}); start it, or correct the URL"
            ) from None
        try:
            return json.loads(text or b"null")
        except ValueError:
            raise EngineUnavailable(
                f"{self.url}{path} returned no JSON: {text[:80]!r}; is it LocalStack with the Chaos API, or `chaos proxy`?"
            ) from None


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:300] or "no reason given"


def _parsed(rules: Iterable[Rule | Mapping[str, Any]]) -> Sequence[Rule]:
    return parse_rules([rule.as_json() if isinstance(rule, Rule) else dict(rule) for rule in rules])


class ServiceProxy:
    """Proxy process in front of regions that listen on these ports of this machine, or at HOST:PORT. It has no faults at
    first.

    Streams of those in `inserts` are made to show INSERTs. Where a region does not listen its callers are reset, as by a
    region that was killed; with `gone="502"` they get that answer.
    """

    def __init__(
        self,
        regions: Mapping[str, int | str],
        log: Path,
        *,
        seed: int = 0,
        gone: str = "reset",
        inserts: Collection[str] = (),
    ) -> None:
        self._ports = dict(zip(regions, free_ports(len(regions)), strict=True))
        doors = [
            f"{region}={self._ports[region]}:{target if isinstance(target, str) else f'{HOST}:{target}'}"
            f"{':inserts' * (region in inserts)}"
            for region, target in regions.items()
        ]
        command = [sys.executable, "-m", "chaos.faults.proxy", "--seed", str(seed), "--gone", gone, *doors]
        self.process = Process("faults", command, {}, log)
        self.faults = Faults(self.endpoint(next(iter(regions))))
        """Rules of all regions; a rule's own `region` says where it strikes."""

    def endpoint(self, region: str) -> str:
        """Return the URL by which the region is reached through the proxy."""
        return f"http://{HOST}:{self._ports[region]}"

    def port(self, region: str) -> int:
        """Return the port of this machine for a region, which a Network gets in place of the region's own."""
        return self._ports[region]

    def start(self) -> None:
        """Start it, and wait until it accepts orders. Raises ProcessFailed."""
        self.process.start()
        hasty = Faults(self.faults.url, timeout=1.0)  # another program may have the port, and never answer
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                hasty.rules()
                return
            except EngineUnavailable:
                if not self.process.running:
                    raise self.process.failure("ended while it started") from None
                if time.monotonic() > end:
                    raise self.process.failure(f"accepted no commands within {_START_SECONDS:.0f} s") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.stop()
