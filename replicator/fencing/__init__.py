"""Which regions may be written to: roles with epochs, the fence that appends respect, and how a region that was emptied or
restored is kept from writing before it has been brought up again (docs/decisions/0020)."""

from replicator.fencing.fence import Fence, RegionFenced
from replicator.fencing.roles import ACTIVE, DRAINING, FENCED, REBUILDING, Role

__all__ = ["ACTIVE", "DRAINING", "FENCED", "REBUILDING", "Fence", "RegionFenced", "Role"]
