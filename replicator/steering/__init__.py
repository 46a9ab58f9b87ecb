"""The traffic hook of failover runbooks: who moves the writers of a region, and how.

`read_steering` makes one of MERIDIAN_STEERING: nobody (the default), a file, Route 53, or Application Recovery Controller.
"""

from replicator.steering.errors import SteeringFailed
from replicator.steering.local import where
from replicator.steering.port import Steering
from replicator.steering.reading import read_steering

__all__ = ["Steering", "SteeringFailed", "read_steering", "where"]
