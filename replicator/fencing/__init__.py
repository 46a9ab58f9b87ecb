"""Fencing: which regions accept writes. Roles with epochs (fencing tokens), the fence that appends respect, and the
protection of an emptied or restored region from writing before it has been brought up again (docs/decisions/0020)."""

from replicator.fencing.fence import Fence, RegionFenced
from replicator.fencing.roles import ACTIVE, DRAINING, FENCED, REBUILDING, Role

__all__ = ["ACTIVE", "DRAINING", "FENCED", "REBUILDING", "Fence", "RegionFenced", "Role"]
