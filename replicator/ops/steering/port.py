"""Port of traffic steering: the hook that a runbook calls to move writers away from a region and back."""

from __future__ import annotations

from typing import Protocol


class Steering(Protocol):
    """Moves the writers of a region. Both methods can be repeated: a runbook that was killed calls them again."""

    def plan(self, region: str, to: str | None) -> str:
        """Return one sentence on what `away` (with `to`) or `back` (None) would do. Changes nothing."""

    def away(self, region: str, to: str) -> str:
        """Send the writers of `region` to `to` from now on. Returns one sentence on what was done.

        Raises SteeringFailed when that failed; nothing else of the runbook depends on it.
        """

    def back(self, region: str) -> str:
        """Let the writers of `region` that were sent away return to it. Otherwise as `away`."""
