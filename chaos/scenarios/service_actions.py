"""Actions on what a region's programs and clients depend on: services and clocks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chaos.faults.clocks import check_offset
from chaos.faults.rules import Rule, parse_rules
from chaos.scenarios.action import LEAST_SECONDS, LEAST_SHARE, Action, number
from chaos.scenarios.scenario import ORDINALS
from chaos.scenarios.stage import Stage
from replicator.domain.errors import InvalidConfig


class SetClock(Action):
    does = "the clock of the region's programs and clients jumps `seconds` ahead (negative: back), and is corrected later"
    takes = ("region", "seconds")
    required = takes
    clocks = True

    def __init__(self, region: str, seconds: float) -> None:
        super().__init__(region)
        if type(seconds) not in (int, float) or not seconds:
            raise InvalidConfig(f"seconds is {seconds!r}; give a number other than 0")
        number("seconds", seconds, LEAST_SECONDS)
        check_offset(seconds)
        self.seconds = seconds
        self._before: Mapping[str, int] = {}

    @property
    def holds(self) -> frozenset[str]:
        return frozenset({f"the clock of the {self.region} region"})

    def start(self, stage: Stage) -> None:
        self._before = self._told(stage)
        stage.clock(self.region).set(self.seconds)

    def stop(self, stage: Stage) -> None:
        """End the change of the clock, and remark how often it was read. Clients stamp their events by this clock. Programs
        keep time by the monotonic clock and stamp nothing, so they may pass the change without one read."""
        told = {who: count - self._before[who] for who, count in self._told(stage).items()}
        stage.clock(self.region).set(0)
        clients, *programs = (f"{who} {count:,}" for who, count in told.items())
        text = f"read a wrong time: {clients} times; {', '.join(programs)} (tenths of a second with a read)"
        stage.remark(text, told["clients"] > 0)

    def _told(self, stage: Stage) -> dict[str, int]:
        """Return how often the region's clients, and each of its programs, have read a wrong time so far."""
        clock = stage.clock(self.region)
        programs = {process.name: clock.marks(process.pids) for process in stage.region(self.region).workers}
        return {"clients": clock.told_wrong, **programs}


class Fail(Action):
    does = "services fail by `rules`, which are LocalStack's chaos rules (docs/chaos.md); a rule's region may be first …"
    takes = ("rules",)
    required = takes
    faulty = True

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self._given = rules
        for rule in self.rules(dict.fromkeys(ORDINALS, "us-east-1")):
            number("probability", rule.probability, LEAST_SHARE)
            if rule.latency is not None:
                number("latency", rule.latency, LEAST_SECONDS * 1_000)
        self._own: tuple[Rule, ...] = ()

    @property
    def acts_on(self) -> Iterable[str]:
        return [each["region"] for each in self._given if each.get("region") in ORDINALS]

    @property
    def holds(self) -> frozenset[str]:
        """Rules with a seed of their own: two of them that are alike in everything cannot be distinguished."""
        seeded = [each for each in self._given if "seed" in each.get("meridian", {})]
        return frozenset(f"rule {json.dumps(each, sort_keys=True)}" for each in seeded)

    def rules(self, names: Mapping[str, str], first: int = 0) -> tuple[Rule, ...]:
        """Return the rules for regions of these names. Rules without a seed get `first` and the numbers after it. Raises
        InvalidConfig."""
        if not isinstance(self._given, Sequence) or not self._given or isinstance(self._given, str):
            raise InvalidConfig("rules must be a list of at least one; [{}] fails every request")
        named = [
            {**each, "region": names.get(each["region"], each["region"])} if isinstance(each, Mapping) and "region" in each
            else each
            for each in self._given
        ]  # fmt: skip
        return tuple(
            replace(rule, seed=seed) if rule.seed is None else rule for seed, rule in enumerate(parse_rules(named), first)
        )

    def start(self, stage: Stage) -> None:
        self._own = self.rules(stage.names, stage.seeds(len(self._given)))
        stage.services.add(self._own)

    def stop(self, stage: Stage) -> None:
        for each in stage.services.told():
            if each.active and each.rule in self._own:
                by = ", ".join(f"{name} {count:,}" for name, count in sorted(each.by.items()))
                stage.remark(f"{each.rule}: struck {each.struck:,} of {each.seen:,} ({by or 'none'})", each.struck > 0)
        stage.services.remove(self._own)
