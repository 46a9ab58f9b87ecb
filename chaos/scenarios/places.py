"""Places of a scenario's regions: on this machine or at endpoints of other emulators; and which of them are first, second
…"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.scenarios.actions import Action
from chaos.scenarios.scenario import ORDINALS, Scenario
from replicator.domain.errors import InvalidConfig

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "sa-east-1", "us-west-2", "eu-central-1")


_URL = re.compile(r"http://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})/?")


@dataclass(frozen=True, slots=True)
class Places:
    """Places of a run. `regions` are in the order of their names in the scenario; `endpoints` are of those that are not
    ours."""

    regions: tuple[str, ...]
    endpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotRun:
    """Scenario that cannot be run where the regions are, with the reason. It does not count as passed."""

    scenario: Scenario
    seed: int
    why: str

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "title": self.scenario.title,
            "seed": self.seed,
            "kept": None,
            "not_run": self.why,
        }


class Endpoints(dict[str, str]):
    """URLs by region. `named` are the regions that were given by name, not only along with all."""

    def __init__(self, urls: Mapping[str, str], named: Iterable[str]) -> None:
        super().__init__(urls)
        self.named = frozenset(named)


def read_endpoints(texts: Iterable[str]) -> Endpoints:
    """Read URLs by region from `http://HOST:PORT`, for all that are not named otherwise, and `REGION=http://HOST:PORT`.
    Raises InvalidConfig."""
    found: dict[str, str] = {}
    rest = ""
    for text in texts:
        region, equals, url = text.partition("=")
        if not equals:
            region, url = "", text
        parts = _URL.fullmatch(url)
        if parts is None or not 1 <= int(parts["port"]) <= 65_535:
            raise InvalidConfig(f"--endpoint {text!r} is not of the form http://HOST:PORT or us-east-1=http://HOST:PORT")
        if equals and region not in REGIONS:
            raise InvalidConfig(
                f"--endpoint {text!r}: scenarios have no region {region!r}; choose from {', '.join(REGIONS)}"
            )
        if region in found or (not equals and rest):
            raise InvalidConfig(f"--endpoint names {region or 'where all regions are'} twice; name it once")
        if equals:
            found[region] = url.rstrip("/")
        else:
            rest = url.rstrip("/")
    return Endpoints({region: found.get(region, rest) for region in REGIONS if region in found or rest}, found)


def place(scenario: Scenario, seed: int, endpoints: Mapping[str, str], actions: Sequence[Action]) -> Places | NotRun:
    """Return the seed's order of regions, in which those that are frozen or killed as a whole run on this machine."""
    shuffled = list(REGIONS[: scenario.regions])
    strange = [region for region in _named(endpoints) if region not in shuffled]
    if strange:
        why = (
            f"its regions are {', '.join(sorted(shuffled))}; none is {' or '.join(sorted(strange))}, which --endpoint names"
        )
        return NotRun(scenario, seed, why)
    random.Random(f"{seed}/regions").shuffle(shuffled)
    elsewhere = {region: endpoints[region] for region in shuffled if region in endpoints}
    if not elsewhere:
        return Places(tuple(shuffled))
    ours = [region for region in shuffled if region not in elsewhere]
    whole = {action.region: action.whole for action in actions if action.whole}
    if len(whole) > len(ours):
        what = " and ".join(sorted(set(whole.values())))
        where = ", ".join(sorted(set(elsewhere.values())))
        count = f"{len(ours)} of its {scenario.regions} regions run on this machine" if ours else "none runs on this machine"
        why = f"it {what}, which is not possible for a region at {where}; {count} (docs/conformance.md)"
        return NotRun(scenario, seed, why)
    chosen = {ordinal: ours.pop(0) for ordinal in ORDINALS if ordinal in whole}
    others = [region for region in shuffled if region not in chosen.values()]
    order = tuple(chosen[each] if each in chosen else others.pop(0) for each in ORDINALS[: scenario.regions])
    return Places(order, elsewhere)


def _named(endpoints: Mapping[str, str]) -> Iterable[str]:
    """Return the regions that were given by name: all, where that is not known, unless every region is given."""
    if isinstance(endpoints, Endpoints):
        return endpoints.named
    return () if set(REGIONS) <= set(endpoints) else endpoints
