"""No traffic hook: the operator of the runbook moves the writers."""

from __future__ import annotations

from replicator.ops.steering.steering_failed import check_move

_HOW = "MERIDIAN_STEERING is not set"


class Nobody:
    """Moves no writers, and returns what is left to do."""

    def plan(self, region: str, to: str | None) -> str:
        return self.back(region) if to is None else self.away(region, to)

    def away(self, region: str, to: str) -> str:
        check_move(region, to)
        return f"send the writers of {region} to {to} yourself: {_HOW}"

    def back(self, region: str) -> str:
        check_move(region, None)
        return f"let the writers of {region} return to it yourself: {_HOW}"
