"""The runbooks of whoever operates a system, as programs: each prints its plan, records every step before and after it in a
control table, and goes on where it was when it was killed (docs/decisions/0022)."""

from replicator.runbooks.bootstrap import Bootstrap
from replicator.runbooks.failback import Failback
from replicator.runbooks.failover import Failover
from replicator.runbooks.runbook import Runbook, Step, Stopped
from replicator.runbooks.summary import Summary
from replicator.runbooks.switchover import Switchover

__all__ = ["Bootstrap", "Failback", "Failover", "Runbook", "Step", "Stopped", "Summary", "Switchover"]
