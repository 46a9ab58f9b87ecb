"""Traffic steering: the hook by which failover runbooks move the writers of a region.

`read_steering` creates one from MERIDIAN_STEERING: none (the default), a file, Route 53, or Application Recovery Controller.
"""

from replicator.ops.steering.choice import read_steering
from replicator.ops.steering.local_file import where
from replicator.ops.steering.port import Steering
from replicator.ops.steering.steering_failed import SteeringFailed

__all__ = ["Steering", "SteeringFailed", "read_steering", "where"]
