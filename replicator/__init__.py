"""Meridian's events and how they travel: the event store, and the copy to every other region."""

from replicator.domain.clock import Hlc, HybridLogicalClock
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import VersionVector
from replicator.errors import (
    AppendContention,
    ClockAhead,
    DamagedEvent,
    InvalidConfig,
    InvalidEvent,
    InvalidName,
    MeridianError,
    OutcomeUnknown,
    RegionUnavailable,
)
from replicator.memory import MemoryStorage
from replicator.settings import Settings, read_settings
from replicator.store import EventStore, Write

__all__ = [
    "AppendContention",
    "ClockAhead",
    "DamagedEvent",
    "Event",
    "EventStore",
    "Hlc",
    "HybridLogicalClock",
    "InvalidConfig",
    "InvalidEvent",
    "InvalidName",
    "LaneId",
    "MemoryStorage",
    "MeridianError",
    "NewEvent",
    "Observed",
    "OutcomeUnknown",
    "RegionUnavailable",
    "Settings",
    "StreamId",
    "VersionVector",
    "Write",
    "read_settings",
]
