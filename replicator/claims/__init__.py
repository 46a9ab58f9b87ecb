"""Claims: uniqueness across streams and regions. A claim is a stream of its own (`email/homer@example.com`), written in one
transaction with the stream that owns it. Two rules decide when two regions claim at once: docs/decisions/0011."""

from replicator.claims.homed import HomedClaims, WrongHome
from replicator.claims.homes import HomeMover, Homes, HomesNotMoved
from replicator.claims.optimistic import OptimisticClaims
from replicator.claims.ownership import OWNERSHIP, Claim, Lost, Ownership, Release

__all__ = [
    "OWNERSHIP",
    "Claim",
    "HomeMover",
    "HomedClaims",
    "Homes",
    "HomesNotMoved",
    "Lost",
    "OptimisticClaims",
    "Ownership",
    "Release",
    "WrongHome",
]
