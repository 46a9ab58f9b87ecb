"""What an action is. It checks its arguments when it is made, and says when it ends what it has struck."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from chaos.scenarios.stage import Stage
from replicator.domain.errors import InvalidConfig

LEAST_SECONDS = 0.001
LEAST_SHARE = 0.001
"""What is less is no fault that anybody could notice."""


class Action:
    """One action. `start` begins it; where it is `lasting`, `stop` ends it. Its arguments are checked when it is made."""

    does: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("region",)
    required: ClassVar[tuple[str, ...]] = ("region",)
    lasting: ClassVar[bool] = True
    proxied: ClassVar[bool] = False
    """Needs links that can be cut."""
    faulty: ClassVar[bool] = False
    """Needs services that can fail."""
    clocks: ClassVar[bool] = False
    """Needs clocks that can be set."""
    whole: ClassVar[str] = ""
    """What it does to the whole region, its tables and all, which must run on this machine for that."""

    def __init__(self, region: str) -> None:
        self.region = region

    @property
    def acts_on(self) -> Iterable[str]:
        """The regions that it names: first, second …"""
        return [self.region]

    moves: ClassVar[bool] = False
    """A runbook that moves clients away from the region."""

    def strikes(self, region: str) -> bool:
        """Whether it is an outage of the region while it lasts."""
        return self.lasting and region in self.acts_on

    def silences(self, region: str) -> bool:
        """Whether nothing leaves the region while it lasts."""
        return False

    @property
    def holds(self) -> frozenset[str]:
        """What it has to itself while it lasts: the end of one of two that hold the same would undo the other."""
        return frozenset()

    def start(self, stage: Stage) -> None:
        """Begin, and return when it is done or under way."""

    def stop(self, stage: Stage) -> None:
        """End it."""


def number(name: str, value: object, least: float, *, nothing: bool = False) -> float:
    """A number whose amount is at least so much, or with `nothing` 0. Raises InvalidConfig."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidConfig(f"{name} is {value!r}; give a number")
    if abs(value) < least and not (nothing and value == 0):
        raise InvalidConfig(f"{name} is {value!r}, which nothing would notice; give {least:g} or more")
    return value
