"""What a scenario's clients do, and by what their views are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from chaos.checker.history import Final, History
from chaos.checker.verdict import Verdict
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.stage import Stage


class Workload(ABC):
    """The clients of one run. `start` makes them; they are the stage's sessions."""

    projection: ClassVar[str]
    """Of the views that are judged: the name for the projectors."""
    type: ClassVar[str]
    """Of the streams that have these views."""
    views: ClassVar[str]
    """What the views' keys begin with."""
    endless: ClassVar[bool] = True
    """The clients go on until they are told to finish. Else they have so much to do, and are waited for."""
    phase: ClassVar[str] = "timeline"
    measured: ClassVar[bool] = False
    """The outage of the first region is measured also where no runbook moves clients."""
    read_timeout: ClassVar[float] = 3.0

    def __init__(self, stage: Stage, scenario: Scenario, seed: int) -> None:
        self.stage = stage
        self.scenario = scenario
        self.seed = seed

    def progress(self) -> tuple[int, int] | None:
        """How much is done, and of how much, where that is known."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Make the clients and let them begin."""

    @abstractmethod
    def judge(self, history: History, finals: Mapping[str, Final]) -> Verdict:
        """The checker's verdict on these clients."""

    def read(self, region: str, final: Final) -> None:  # noqa: B027
        """Read what only these clients know how to read."""

    def reached(self, condition: str) -> bool:
        """Whether what a step waits for has come about."""
        raise NotImplementedError(condition)

    def finish(self) -> None:  # noqa: B027
        """The clients have come to their end by themselves."""

    def struck(self) -> None:  # noqa: B027
        """The outage has begun."""

    def leaving(self) -> None:  # noqa: B027
        """Clients are about to move away from the region that is struck."""

    def healed(self) -> None:  # noqa: B027
        """The outage is over."""

    def returning(self) -> None:  # noqa: B027
        """Clients are about to come home."""
