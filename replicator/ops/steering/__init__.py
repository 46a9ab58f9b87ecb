"""The traffic hook of failover runbooks: who moves the writers of a region, and how.

`read_steering` makes one of MERIDIAN_STEERING: nobody (the default), a file, Route 53, or Application Recovery Controller.
"""

from replicator.ops.steering.choice import read_steering
from replicator.ops.steering.local_file import where
from replicator.ops.steering.port import Steering
from replicator.ops.steering.steering_failed import SteeringFailed

__all__ = ["Steering", "SteeringFailed", "read_steering", "where"]
