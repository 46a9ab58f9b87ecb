"""Where writers go: the hook that a runbook calls to move them away from a region and back."""

from __future__ import annotations

from typing import Protocol


class Steering(Protocol):
    """Moves the writers of a region. Both verbs can be repeated: a runbook that was killed calls them again."""

    def plan(self, region: str, to: str | None) -> str:
        """One sentence that says what `away` (with `to`) or `back` (None) would do. Changes nothing."""

    def away(self, region: str, to: str) -> str:
        """Writers that go to `region` go to `to` from now on. Returns one sentence that says what was done.

        Raises SteeringFailed when that could not be done; nothing else of the runbook depends on it.
        """

    def back(self, region: str) -> str:
        """Writers of `region` that were sent away return to it. As `away`."""
