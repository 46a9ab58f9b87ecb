"""Errors of moving writers."""

from __future__ import annotations

from replicator.domain.errors import MeridianError
from replicator.domain.names import check_region


class SteeringFailed(MeridianError):
    """Writers could not be moved, or it is unknown whether they were. The message gives the remedy; both methods can be
    repeated."""


def check_move(region: str, to: str | None) -> None:
    """Raise InvalidName for an invalid region, and SteeringFailed for a move from a region to itself."""
    check_region(region)
    if to is not None:
        check_region(to)
    if region == to:
        raise SteeringFailed(f"writers of {region} cannot be sent to {to} itself; name another region")
