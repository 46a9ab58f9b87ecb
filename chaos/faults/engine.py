"""Fault engine: chooses the rule that strikes a request, and counts what each has struck: one that never struck was no
fault."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.faults.request import Asked
from chaos.faults.rules import Rule
from replicator.domain.errors import InvalidConfig

_REMEMBERED = 1_000


@dataclass(slots=True, eq=False)
class Armed:
    """Rule that is set, with its own source of chance. `since` is when, in the engine's seconds."""

    rule: Rule
    since: float
    chance: random.Random
    seen: int = 0
    """Number of requests that matched it, within its window."""
    struck: Counter[str] = field(default_factory=Counter)
    active: bool = True

    @property
    def strikes(self) -> int:
        return self.struck.total()

    def told(self) -> dict[str, Any]:
        return {
            "rule": self.rule.as_json(),
            "does": str(self.rule),
            "seen": self.seen,
            "struck": self.strikes,
            "by": {name: count for name, count in self.struck.items() if count},
            "active": self.active,
        }


@dataclass(frozen=True, slots=True)
class Strike:
    """Decision that a rule strikes a request."""

    armed: Armed
    asked: Asked

    @property
    def rule(self) -> Rule:
        return self.armed.rule

    @property
    def chance(self) -> random.Random:
        return self.armed.chance

    def missed(self) -> None:
        """Record that there was nothing to strike, such as records to repeat: it does not count."""
        self.armed.struck[str(self.asked)] -= 1


class Engine:
    """Rules that are set. The same seed, rules and order of requests strike the same requests."""

    def __init__(self, now: Callable[[], float], seed: int = 0) -> None:
        self.latency = 0.0
        """LocalStack's network effect: milliseconds by which every request is delayed."""
        self._now = now
        self._seed = seed
        self._count = 0
        self._armed: list[Armed] = []
        self._before: deque[Armed] = deque(maxlen=_REMEMBERED)

    @property
    def rules(self) -> list[Rule]:
        return [armed.rule for armed in self._armed]

    def set(self, rules: Iterable[Rule]) -> None:
        """Replace all rules by these."""
        for armed in self._armed:
            self._retire(armed)
        self._armed = []
        self._count = 0
        self.add(rules)

    def add(self, rules: Iterable[Rule]) -> None:
        """Add these rules, which are tried after all others."""
        for rule in rules:
            self._count += 1
            seed = f"{self._seed}:{self._count}" if rule.seed is None else str(rule.seed)
            self._armed.append(Armed(rule, self._now(), random.Random(seed)))

    def remove(self, rules: Sequence[Rule]) -> None:
        """Remove these rules. Raises InvalidConfig, and removes none, when one of them is not set."""
        left = list(self._armed)
        for rule in rules:
            found = next((armed for armed in left if armed.rule == rule), None)
            if found is None:
                raise InvalidConfig(f"the rule {rule.as_json()} is not set; to remove a rule, give exactly what was set")
            left.remove(found)
        for armed in self._armed:
            if armed not in left:
                self._retire(armed)
        self._armed = left

    def _retire(self, armed: Armed) -> None:
        armed.active = False
        self._before.append(armed)

    def told(self) -> list[dict[str, Any]]:
        """Return the effects of every rule, also of those that were removed."""
        return [armed.told() for armed in (*self._before, *self._armed)]

    def strike(self, asked: Asked) -> Strike | None:
        """Return the first rule that strikes this request, already counted."""
        now = self._now()
        for armed in self._armed:
            rule = armed.rule
            if not rule.matches(asked.service, asked.operation, asked.region):
                continue
            begins, ends = rule.window
            if now - armed.since < begins or (ends is not None and now - armed.since >= ends):
                continue
            armed.seen += 1
            if armed.seen <= rule.after or (rule.most is not None and armed.strikes >= rule.most):
                continue
            if rule.probability < 1 and armed.chance.random() >= rule.probability:
                continue
            armed.struck[str(asked)] += 1
            return Strike(armed, asked)
        return None
