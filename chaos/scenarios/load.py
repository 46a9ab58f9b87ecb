"""Workload: the clients of a scenario, and how their views are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from chaos.checker.history import Final, History
from chaos.checker.verdict import Verdict
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.stage import Stage


class Workload(ABC):
    """Clients of one run. `start` makes them; they are the stage's sessions."""

    projection: ClassVar[str]
    """Projection of the judged views: its name for the projectors."""
    type: ClassVar[str]
    """Type of the streams that have these views."""
    views: ClassVar[str]
    """Prefix of the views' keys."""
    endless: ClassVar[bool] = True
    """Whether the clients go on until `finish`. Otherwise they have a fixed amount to do, and are waited for."""
    phase: ClassVar[str] = "timeline"
    measured: ClassVar[bool] = False
    """Whether the outage of the first region is measured also where no runbook moves clients."""
    read_timeout: ClassVar[float] = 3.0

    def __init__(self, stage: Stage, scenario: Scenario, seed: int) -> None:
        self.stage = stage
        self.scenario = scenario
        self.seed = seed

    def progress(self) -> tuple[int, int] | None:
        """Return how much is done, and of how much; None if that is not known."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Make the clients and start them."""

    @abstractmethod
    def judge(self, history: History, finals: Mapping[str, Final]) -> Verdict:
        """Return the checker's verdict on these clients."""

    def read(self, region: str, final: Final) -> None:  # noqa: B027
        """Read the final state that only these clients can read."""

    def reached(self, condition: str) -> bool:
        """Return whether the condition that a step waits for is met."""
        raise NotImplementedError(condition)

    def finish(self) -> None:  # noqa: B027
        """Called when the clients have ended by themselves."""

    def struck(self) -> None:  # noqa: B027
        """Called when the outage has begun."""

    def leaving(self) -> None:  # noqa: B027
        """Called before clients move away from the struck region."""

    def healed(self) -> None:  # noqa: B027
        """Called when the outage is over."""

    def returning(self) -> None:  # noqa: B027
        """Called before clients come home."""
