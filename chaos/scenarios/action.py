"""Base of actions: one checks its arguments when it is made, and reports what it struck when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from chaos.scenarios.stage import Stage
from replicator.domain.errors import InvalidConfig

LEAST_SECONDS = 0.001
LEAST_SHARE = 0.001
"""Smallest share of requests that may fail; a smaller one would not be noticed."""


class Action:
    """One action. `start` begins it; where it is `lasting`, `stop` ends it. Its arguments are checked when it is made."""

    does: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("region",)
    required: ClassVar[tuple[str, ...]] = ("region",)
    lasting: ClassVar[bool] = True
    proxied: ClassVar[bool] = False
    """Whether it needs links that can be cut."""
    faulty: ClassVar[bool] = False
    """Whether it needs services that can fail."""
    clocks: ClassVar[bool] = False
    """Whether it needs clocks that can be set."""
    whole: ClassVar[str] = ""
    """Its effect on the whole region, with its tables; the region must then run on this machine. Empty: none."""

    def __init__(self, region: str) -> None:
        self.region = region

    @property
    def acts_on(self) -> Iterable[str]:
        """Regions that it names: first, second …"""
        return [self.region]

    moves: ClassVar[bool] = False
    """Whether it is a runbook that moves clients away from the region."""

    def strikes(self, region: str) -> bool:
        """Return whether it is an outage of the region while it lasts."""
        return self.lasting and region in self.acts_on

    def silences(self, region: str) -> bool:
        """Return whether nothing leaves the region while it lasts."""
        return False

    @property
    def holds(self) -> frozenset[str]:
        """Names of what it holds exclusively while it lasts: of two actions that hold the same, the end of one would undo
        the other."""
        return frozenset()

    def start(self, stage: Stage) -> None:
        """Begin, and return when it is done or under way."""

    def stop(self, stage: Stage) -> None:
        """End it."""


def number(name: str, value: object, least: float, *, nothing: bool = False) -> float:
    """Return a number whose amount is at least `least`, or with `nothing` 0. Raises InvalidConfig."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidConfig(f"{name} is {value!r}; give a number")
    if abs(value) < least and not (nothing and value == 0):
        raise InvalidConfig(f"{name} is {value!r}, which has no noticeable effect; give {least:g} or more")
    return value
