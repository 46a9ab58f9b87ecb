"""How a system of regions stands: the values (here), how they are found out (`gathering`), and how they look in a terminal
(`table`) and as a page (`page`).

What is wrong is decided in one place, `judging`, so that both say the same. Importing this package imports none of them.
"""

from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status

__all__ = ["LinkStatus", "RegionStatus", "RunStatus", "Status"]
