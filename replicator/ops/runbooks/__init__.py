"""Operator runbooks as programs: each prints its plan, records every step before and after it in a control table, and
resumes where it was killed (docs/decisions/0022)."""

from replicator.ops.runbooks.bootstrap import Bootstrap
from replicator.ops.runbooks.failback import Failback
from replicator.ops.runbooks.failover import Failover
from replicator.ops.runbooks.runbook import Runbook, Step, Stopped
from replicator.ops.runbooks.summary import Summary
from replicator.ops.runbooks.switchover import Switchover

__all__ = ["Bootstrap", "Failback", "Failover", "Runbook", "Step", "Stopped", "Summary", "Switchover"]
