"""Status of a system of regions: the values (here), how they are collected (`gather`), and their views in a terminal
(`table`) and as a page (`page`).

One module, `judgement`, decides what is wrong, so that both views agree. Importing this package imports none of them.
"""

from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status

__all__ = ["LinkStatus", "RegionStatus", "RunStatus", "Status"]
